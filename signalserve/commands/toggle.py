"""`signalserve toggle`: see and change which model answers, while the service runs.

A change is shown as a difference, asked for where it gives a model other than the control more to answer, recorded in
the journal with who and why, and in force within a second. A script passes --yes.
"""

import argparse
import math
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signalserve.environment import default_settings

if TYPE_CHECKING:
    from signalserve.settings import Settings
    from signalserve.toggles.change import Files, Rewritten
    from signalserve.toggles.edit import KeyPath, Scalar
    from signalserve.toggles.history import Author

ARMS: Final = ("v6_fixed", "v8", "ensemble")

_DECLINED: Final = 1
_TO_MEND: Final = 2
_POSITIONAL: Final = ("mode", "shares", "method", "temperature", "state")
_OPTIONS: Final = ("symbol", "name", "split", "control", "block_minutes", "salt", "budget_ms", "to")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("toggle", help="see and change which model answers", description=__doc__)
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", dest="verb", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        one.set_defaults(run=run)
        _add_files(one)
        if run is not _show:
            _add_author(one)
        return one

    show = verb("show", _show, "what is in force, what is out, and who changed what")
    show.add_argument("--json", action="store_true", help="as JSON")

    mode = verb("mode", _edit, "who answers: a generation, the pool, or an arm of the experiment")
    mode.add_argument("mode", choices=[*ARMS, "ab"])
    _add_symbol(mode)

    weights = verb("weights", _edit, "each generation's share in the pool")
    weights.add_argument("shares", type=_shares, metavar="v6_fixed=0.4,v8=0.6", help="sum 1; who is not named gets 0")
    _add_symbol(weights)

    pool = verb("pool", _edit, "how several forecasts become one")
    pool.add_argument("method", choices=["linear", "log"])
    pool.add_argument("temperature", type=_positive, help="above 0, as signalserve compare fitted it")
    _add_symbol(pool)

    split = verb("split", _edit, "each arm's share of the experiment's time blocks")
    split.add_argument("shares", type=_shares, metavar="v6_fixed=0.8,v8=0.2", help="sum 1; who is not named gets 0")

    experiment = verb("experiment", _edit, "the A/B test; what is not given stays as it is")
    experiment.add_argument("--name", help="another name deals the arms anew")
    experiment.add_argument("--split", type=_shares, metavar="v6_fixed=0.8,v8=0.2", help="each arm's share, sum 1")
    experiment.add_argument("--control", choices=ARMS, help="the arm that the others are compared with")
    experiment.add_argument("--block-minutes", type=int, metavar="MINUTES", help="how long a symbol keeps its arm")
    experiment.add_argument("--salt", help="another salt deals the arms anew")

    shadow = verb("shadow", _edit, "compute and record every arm, and answer with one")
    shadow.add_argument("state", choices=["on", "off"])
    shadow.add_argument("--budget-ms", type=_positive, metavar="MS", help="arms that only get recorded end past this")

    rollback = verb("rollback", _rollback, "the text before the last toggle; once more: one further back")
    rollback.add_argument("--to", metavar="SHA256", help="the first digits of any text that the journal knows")

    clear = verb("clear", _clear, "let a model answer again that a guardrail took out")
    clear.add_argument("symbol", nargs="?", metavar="SYMBOL")
    clear.add_argument("generation", nargs="?", metavar="GENERATION")
    clear.add_argument("--all", action="store_true", help="every model that is out")


def _show(args: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from signalserve.toggles.standing import standing
    from signalserve.toggles.terminal import Terminal

    found = standing(_files(args))
    if args.json:
        print(json.dumps(asdict(found), indent=1, allow_nan=False))
    else:
        Terminal(yes=False).show(found)
    return 0 if found.here and found.out is not None else _TO_MEND


def _edit(args: argparse.Namespace) -> int:
    from signalserve.errors import ConfigError
    from signalserve.settings import parse_settings
    from signalserve.toggles.change import Rewritten
    from signalserve.toggles.edit import edit

    def rewrite(text: str) -> Rewritten:
        try:
            settings = parse_settings(text, str(args.settings))
        except ConfigError as error:
            raise ConfigError(
                f"{error}; only a file that is right can be edited: mend it by hand, or put a text back that the "
                "journal knows: signalserve toggle rollback --to SHA256"
            ) from None
        return Rewritten(edit(text, _values(args, settings)))

    return _change(args, rewrite)


def _values(args: argparse.Namespace, settings: "Settings") -> "dict[KeyPath, Scalar]":
    """What the verb writes, by its place in the file."""
    from signalserve.toggles import changes

    match args.verb:
        case "mode":
            return changes.mode(args.mode, args.symbol)
        case "weights":
            return changes.weights(settings, args.shares, args.symbol)
        case "pool":
            return changes.pool(args.method, args.temperature, args.symbol)
        case "split":
            return changes.experiment(settings, split=args.shares)
        case "experiment":
            return changes.experiment(
                settings,
                name=args.name,
                split=args.split,
                control=args.control,
                block_minutes=args.block_minutes,
                salt=args.salt,
            )
        case _:
            return changes.shadow(args.state == "on", args.budget_ms)


def _rollback(args: argparse.Namespace) -> int:
    from signalserve.toggles.change import Rewritten, sha256_of_text
    from signalserve.toggles.history import read_history

    def rewrite(text: str) -> Rewritten:
        history = read_history(args.journal)
        if args.to is not None:
            return Rewritten(history.named(args.to))
        undone = history.last_into(sha256_of_text(text))
        return Rewritten(undone.before, undone.event_id)

    return _change(args, rewrite)


def _clear(args: argparse.Namespace) -> int:
    from signalserve.toggles.latched import choose, let_answer, models_out
    from signalserve.toggles.terminal import Terminal

    terminal = Terminal(yes=args.yes)
    out = models_out(args.journal)
    if not out:
        terminal.say(f"no model is out by {args.journal}")
        return 0
    chosen = choose(args.journal, out, args.symbol, args.generation, everything=args.all)
    cleared = let_answer(args.journal, chosen, _author(args), terminal)
    if cleared is None:
        terminal.say("not cleared")
        return _DECLINED
    still = models_out(args.journal)
    for latch in chosen:
        otherwise = "stays out" if latch in still else "was no longer out: somebody else cleared it"
        became = "may answer again" if latch in cleared else otherwise
        terminal.say(f"{latch.symbol} {latch.generation} on {latch.endpoint} {became}")
    return _DECLINED if any(latch in still for latch in chosen) else 0


def _change(args: argparse.Namespace, rewrite: "Callable[[str], Rewritten]") -> int:
    from signalserve.journal import default_folder
    from signalserve.toggles.change import change
    from signalserve.toggles.home import check_home
    from signalserve.toggles.terminal import Terminal

    if args.journal != default_folder(os.environ):  # which a first toggle may begin, but nobody's typing error
        check_home(args.journal)
    terminal = Terminal(yes=args.yes)
    outcome = change(_files(args), _command(args), rewrite, _author(args), terminal)
    words = {
        "changed": f"{args.settings} is changed; the service takes it within a second",
        "unchanged": f"nothing to change: {args.settings} says so already",
        "declined": "not changed",
    }
    terminal.say(words[outcome])
    return _DECLINED if outcome == "declined" else 0


# ---- arguments


def _add_files(parser: argparse.ArgumentParser) -> None:
    from signalserve.journal import default_folder

    parser.add_argument(
        "--settings",
        type=Path,
        default=default_settings(os.environ),
        metavar="FILE",
        help="the toggles (default %(default)s)",
    )
    parser.add_argument(
        "--journal",
        type=Path,
        default=default_folder(os.environ),
        metavar="DIR",
        help="the service's journal, or its run folder where it keeps none (default %(default)s)",
    )
    parser.add_argument(
        "--model-store",
        type=Path,
        default=Path("model_store"),
        metavar="DIR",
        help="folder with bundles/, to check against (default %(default)s)",
    )


def _add_author(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do it without asking, also where it widens exposure")
    parser.add_argument("--why", metavar="TEXT", help="the reason, for the record")
    parser.add_argument("--who", metavar="NAME", help="for the record (default: your login name)")


def _add_symbol(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--symbol", help="its own value, such as BTC-USD's (without: the defaults)")


def _files(args: argparse.Namespace) -> "Files":
    from signalserve.toggles.change import Files

    return Files(args.settings, args.journal, args.model_store)


def _author(args: argparse.Namespace) -> "Author":
    from getpass import getuser

    from signalserve.toggles.history import Author

    try:
        who = args.who or getuser()
    except (KeyError, OSError):  # a container's user without a name
        who = f"uid {os.getuid()}"
    return Author(who, args.why)


def _command(args: argparse.Namespace) -> str:
    """The verb with what it was given, as it would be typed again; not where the files are, nor who asked."""
    words = [args.verb, *(_word(getattr(args, name)) for name in _POSITIONAL if hasattr(args, name))]
    for name in _OPTIONS:
        value = getattr(args, name, None)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", _word(value)]
    return shlex.join(words)


def _word(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={share:.15g}" for name, share in value.items())
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _shares(text: str) -> dict[str, float]:
    """v6_fixed=0.4,v8=0.6 as a mapping; whether the names and the sum are right is checked with the file."""
    try:
        shares = {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        shares = {"": math.nan}
    if not all(name and math.isfinite(share) for name, share in shares.items()):
        raise argparse.ArgumentTypeError(f"expected names and shares such as v6_fixed=0.4,v8=0.6, got {text!r}")
    return shares


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value
