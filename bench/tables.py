"""The figures as tables."""

from collections.abc import Sequence

from figures import FIGURES, Key, Results
from memory import Memory
from rich.table import Table


def figures_table(results: Results, connections: int, without_server: Sequence[str]) -> Table:
    """Medians over the rounds. without_server: who in the results has no connections, but processes."""
    table = Table("request", "who", title=f"Medians over the rounds, {_connections(connections)}")
    if connections > 1:
        table.caption = f"{', '.join(without_server)}: in as many processes at once as the ensemble has workers"
    for name in ("p50 ms", "p99 ms", "requests/s", "CPU ms"):
        table.add_column(name, justify="right")
    for form, who in _rows(results):
        p50, p99, rate, cpu = (results.spread(Key(who, form, connections), figure).median for figure in FIGURES)
        table.add_row(form, who, f"{p50 / 1000:.2f}", f"{p99 / 1000:.2f}", f"{rate:,.0f}", f"{cpu:.2f}")
    return table


def ratios_table(results: Results, who: str, connections: int, without_server: Sequence[str]) -> Table:
    """who ÷ everyone else, where both were asked in the same form."""
    table = Table("request", f"{who} ÷", title=f"Ratios: median over the rounds (range), {_connections(connections)}")
    for name in ("p50", "p99", "requests/s", "CPU"):
        table.add_column(name, justify="right")
    for form, other in _rows(results):
        if other == who:
            continue
        ours, theirs = Key(who, form, connections), Key(other, form, connections)
        # sixteen requests wait for each other; nothing waits in a process that nobody asks
        queued = connections > 1 and other in without_server
        figures = FIGURES[2:] if queued else FIGURES
        cells = [str(results.ratio(ours, theirs, figure)) for figure in figures]
        table.add_row(form, other, *(["–", "–"] if queued else []), *cells)
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
