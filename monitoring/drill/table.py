"""What a drill showed, as Markdown."""

from collections.abc import Sequence

from monitoring.drill.run import Fired, Result


def table(results: Sequence[Result]) -> str:
    """A row for each fault."""
    head = ("fault", "what is done", "alerts: severity, first after … predictions (minutes)", "as expected")
    rows = [(f"`{one.fault.name}`", one.fault.words, _alerts(one), _verdict(one)) for one in results]
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def unseen(results: Sequence[Result]) -> str:
    """What no alert can tell from health, and why."""
    found = [one.fault for one in results if not one.fault.is_seen and one.fault.name != "nothing"]
    return "".join(f"- `{fault.name}`: {fault.words}. {fault.why[0].upper()}{fault.why[1:]}.\n" for fault in found)


def _alerts(result: Result) -> str:
    if not result.fired:
        return f"none in {result.minutes:,} minutes"
    return "<br>".join(map(_alert, result.fired))


def _alert(fired: Fired) -> str:
    arms = sorted({where[1] or where[2] for where in fired.where} - {""})
    whose = f" of {', '.join(arms)}" if arms else ""
    return f"{fired.name}{whose}: {fired.severity}, {fired.predictions:,} ({fired.minutes:,})"


def _verdict(result: Result) -> str:
    if result.is_as_expected:
        return "yes"
    missing = [f"missing: {', '.join(result.missing)}"] if result.missing else []
    unexpected = [f"unexpected: {', '.join(result.unexpected)}"] if result.unexpected else []
    return f"**no**: {'; '.join(missing + unexpected)}"
