"""The figures as tables."""

from collections.abc import Sequence

from figures import FIGURES, Figure, Key, Results
from memory import Memory
from rich.table import Table


def figures_table(results: Results, connections: Sequence[int], without_server: Sequence[str]) -> Table:
    """Medians over the rounds. without_server: who in the results has no connections, but processes."""
    caption = (
        f"{' and '.join(without_server)}: no server; one process, then as many at once as the ensemble has workers"
    )
    table = Table("request", "who", title="Medians over the rounds", caption=caption)
    for count in connections:
        for figure in ("p50 ms", "p99 ms", "requests/s"):
            table.add_column(f"{figure}\n{_connections(count)}", justify="right")
    for form, who in _rows(results):
        cells = []
        for count in connections:
            p50, p99, rate = (results.spread(Key(who, form, count), figure).median for figure in FIGURES)
            cells += [f"{p50 / 1000:.2f}", f"{p99 / 1000:.2f}", f"{rate:,.0f}"]
        table.add_row(form, who, *cells)
    return table


def ratios_table(results: Results, who: str, connections: Sequence[int], without_server: Sequence[str]) -> Table:
    """who ÷ everyone else, where both were asked in the same form."""
    table = Table("request", f"{who} ÷", title=f"{who} as a ratio: median over the rounds (range)")
    columns: list[tuple[int, Figure]] = []
    for count in connections:
        for figure, name in zip(FIGURES, ("p50", "p99", "requests/s"), strict=True):
            columns.append((count, figure))
            table.add_column(f"{name}\n{_connections(count)}", justify="right")
    for form, other in _rows(results):
        if other == who:
            continue
        cells = []
        for count, figure in columns:
            # sixteen requests wait for each other, and a process that nobody asks makes none wait
            comparable = count == 1 or figure == "per_second" or other not in without_server
            ratio = results.ratio(Key(who, form, count), Key(other, form, count), figure)
            cells.append(str(ratio) if comparable else "–")
        table.add_row(form, other, *cells)
    return table


def memory_table(memories: Sequence[Memory]) -> Table:
    table = Table("server", "process", title="Memory after the load", caption="PSS counts a page of n processes as 1/n")
    for name in ("RSS MB", "PSS MB"):
        table.add_column(name, justify="right")
    for server in dict.fromkeys(memory.server for memory in memories):
        own = [memory for memory in memories if memory.server == server]
        for memory in own:
            table.add_row(server, memory.role, f"{memory.rss_mb:.0f}", f"{memory.pss_mb:.0f}")
        table.add_row(server, "[bold]all", "", f"[bold]{sum(memory.pss_mb for memory in own):.0f}", end_section=True)
    return table


def _rows(results: Results) -> list[tuple[str, str]]:
    """(form, who), the forms in the order they were measured in, and within each the servers first."""
    forms = list(dict.fromkeys(key.form for key in results.rounds))
    whos = list(dict.fromkeys(key.who for key in results.rounds))
    return [(form, who) for form in forms for who in whos if any(key[:2] == (who, form) for key in results.rounds)]


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"
