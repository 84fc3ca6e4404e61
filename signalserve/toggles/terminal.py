"""Toggles on a terminal: differences, questions and the state of things; in a script, no question is ever asked."""

import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from signalserve.candles import iso
from signalserve.client.explanations import explain
from signalserve.errors import ConfigError
from signalserve.latches import DAMAGED, Latch
from signalserve.toggles.change import Plan
from signalserve.toggles.standing import Change, InForce, Standing, SymbolStanding

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


class Terminal:
    """Shows, and asks where --yes was not given. Nobody can be asked where standard input is no terminal."""

    def __init__(self, *, yes: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._yes = yes
        self._agreed: set[str] = set()  # questions, which are asked once

    def approve(self, plan: Plan) -> bool:
        for line in plan.difference:
            self._console.print(Text(line, _COLOURS.get(line[:1], "")))
        for words in plan.remarks:
            self._warn(words)
        for words in plan.widened:
            self._console.print(f"[bold yellow]widens[/]  {escape(words)}")
        return not plan.widened or self._ask("change it?", "this widens what a model other than the control answers")

    def approve_clear(self, latches: Sequence[Latch]) -> bool:
        for latch in latches:
            self._console.print(f"[bold yellow]answers again[/]  {escape(_latch_words(latch))}")
        return self._ask("clear?", "this lets a model answer that broke a rule")

    def approve_unrecorded(self, reason: str) -> bool:
        self._console.print(f"[bold red]NOT RECORDED[/]  the journal cannot be written: {escape(reason)}")
        return self._ask("go on without a record?", "this cannot be recorded in the journal")

    def say(self, line: str) -> None:
        self._console.print(escape(line))

    def show(self, standing: Standing) -> None:
        self._show_file(standing)
        if standing.symbols:
            self._console.print(_symbols(standing.symbols))
        self._show_experiment(standing.experiment)
        if standing.score_all_arms is not None:
            budget = f"on, within {standing.shadow_budget_ms:g} ms" if standing.score_all_arms else "off"
            self.say(f"score_all_arms {budget}")
        if standing.out_unknown is not None:
            self._console.print(f"[bold red]NOT KNOWN[/]  which models are out: {escape(standing.out_unknown)}")
        for latch in standing.out or ():
            self._console.print(f"[bold red]OUT[/]  {escape(_latch_words(latch))}")
            self.say(f"     mend it, then: signalserve toggle clear {latch.symbol} {latch.generation}")
        if standing.changes:
            self._console.print(_changes(standing.changes))

    def _show_file(self, standing: Standing) -> None:
        if standing.error is None:
            self._console.print(f"[bold]{escape(standing.path)}[/]  [green]valid[/]  {str(standing.sha256)[:12]}")
        else:
            word = "WRONG" if standing.here else "NOT READ"
            self._console.print(f"[bold red]{word}[/]  {escape(standing.error)}")
            if standing.here:
                self.say(
                    "       the last good text stays in force; back to it: signalserve toggle rollback --to SHA256"
                )
            self.say(f"       what is in force {'is shown' if standing.symbols else 'is not known here'}")
        if standing.unread is not None:
            self._warn(standing.unread)
        for one in standing.in_force:
            self._console.print(_in_force_words(one, standing))

    def _show_experiment(self, experiment: Mapping[str, object] | None) -> None:
        if experiment is not None:
            split = experiment["split"]
            assert isinstance(split, dict)
            self.say(
                f"experiment {experiment['name']}: {', '.join(_shares(split))}; control {experiment['control']}, "
                f"blocks of {experiment['block_minutes']} minutes, salt {experiment['salt']}"
            )

    def _warn(self, words: str) -> None:
        self._console.print(f"[yellow]![/]  {escape(words)}")

    def _ask(self, question: str, reason: str) -> bool:
        """True at once where it was agreed before. Raises ConfigError where nobody can be asked."""
        if self._yes or question in self._agreed:
            return True
        if not sys.stdin.isatty():
            raise ConfigError(f"{reason}: expected a yes, and nobody can be asked here: pass --yes; nothing is changed")
        try:
            agreed = self._console.input(f"{question} \\[y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False
        if agreed:
            self._agreed.add(question)
        return agreed


def _latch_words(latch: Latch) -> str:
    model = f"{latch.symbol} {latch.generation} on {latch.endpoint} since {iso(latch.at_ms)}"
    if DAMAGED in latch.rules:
        return f"{model}: {DAMAGED}, so that nobody knows which rule it broke; bundle {latch.sha256[:12]}"
    rules = "; ".join(explain(f"invariant_{rule}") for rule in latch.rules)
    return f"{model}: {', '.join(latch.rules)} ({rules}), bundle {latch.sha256[:12]}"


def _in_force_words(one: InForce, standing: Standing) -> str:
    words = f"  {one.endpoint} has {one.sha256[:12]} in force, by its workers at {iso(one.at_ms)}"
    if one.error is not None:
        return f"{words}, [red]and refused the file: {escape(one.error)}[/]"
    return words if standing.sha256 in (None, one.sha256) else f"{words}, [yellow]which is not the file as it is now[/]"


def _symbols(symbols: Sequence[SymbolStanding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("symbol", "mode", "weights", "pool", "answers"):
        table.add_column(heading)
    for one in symbols:
        pool = f"{one.pool['method']}, T {one.pool['temperature']:g}"
        table.add_row(one.symbol, one.mode, "\n".join(_shares(one.weights)), pool, "\n".join(_shares(one.exposure)))
    return table


def _changes(changes: Sequence[Change]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("changed", "by", "toggle", "why", "sha256"):
        table.add_column(heading, no_wrap=heading == "changed")
    for one in changes:
        table.add_row(
            iso(one.at_ms // 1000 * 1000), *map(escape, (one.who, one.command, one.why or "")), one.after_sha256[:12]
        )
    return table


def _shares(shares: Mapping[str, float]) -> list[str]:
    return [f"{name} {100 * share:.4g} %" for name, share in shares.items() if share > 0]
