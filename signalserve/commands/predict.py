"""`signalserve predict`: one prediction from a file of candles or an exchange's, shown to a person or as JSON.

Asks a running service where --url names one; without it, the models run in this process.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signalserve.environment import default_settings
from signalserve.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from signalserve.candles import Candles
    from signalserve.client import ModelAnswer, Prediction
    from signalserve.client.requests import Call
    from signalserve.exchange import Progress

ENDPOINTS: Final = ("ensemble", "v6_fixed", "v8")

_COLOURS: Final = {"DOWN": "red", "NEUTRAL": "yellow", "UP": "green"}
_GENERATED: Final = "generated candles, from no market: the answer shows that everything works, and nothing else"
_OTHER_MARKET: Final = (
    "the reference models learned from Binance's perpetuals in USDT; another market's prices differ a little, "
    "and its volumes by more"
)
_BAR: Final = 40  # characters for a probability of 1


@dataclass(frozen=True)
class Reply:
    """content: the response's JSON, as it came.  skill: a line a model on what it is worth; empty where not told."""

    content: bytes
    skill: tuple[str, ...] = ()


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("predict", help="one prediction from candles", description=__doc__)
    parser.add_argument("--symbol", required=True, help="such as BTC-USD")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--candles",
        type=Path,
        metavar="FILE",
        help="csv, parquet or json of one-minute bars, at least 1,060 closed ones",
    )
    source.add_argument(
        "--exchange", metavar="NAME", help="the newest closed bars there, such as kraken (ccxt's names)"
    )
    source.add_argument("--demo", action="store_true", help="generated candles instead, from no market")
    parser.add_argument("--market", metavar="BTC/USDT", help="at --exchange (default: the symbol's own, in USD)")
    parser.add_argument("--endpoint", choices=ENDPOINTS, default="ensemble", help="whom to ask (default %(default)s)")
    override = parser.add_mutually_exclusive_group()
    override.add_argument("--variant", choices=ENDPOINTS, help="overrule serving.yaml: who answers (ensemble endpoint)")
    override.add_argument(
        "--weights", type=_weights, metavar="v6_fixed=0.4,v8=0.6", help="overrule serving.yaml: the pool's weights"
    )
    parser.add_argument("--url", help="of a running service, such as http://127.0.0.1:8080 (default: in this process)")
    parser.add_argument("--json", action="store_true", help="print the response as it came")
    local = parser.add_argument_group("in this process, without --url")
    local.add_argument(
        "--model-store", type=Path, default=Path("model_store"), help="folder with bundles/ (default %(default)s)"
    )
    local.add_argument(
        "--settings", type=Path, default=default_settings(os.environ), help="the toggles (default %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises DataError for the candles, ConfigError for the arguments, SignalError for what the service answers."""
    from signalserve.client import Instance, InvalidInput, requests
    from signalserve.client.responses import Answer

    if not args.json:
        _require_rich()
    candles, origin = _candles(args)
    instance = Instance(args.symbol, candles=candles, variant=args.variant, weights=args.weights)
    try:
        call = requests.single(instance, args.endpoint)
        reply = _ask(args.url, call) if args.url else _answer_here(args, call)
    except InvalidInput as error:
        raise ConfigError(str(error)) from None
    if args.json:
        print(reply.content.decode())
    else:
        _show(call.read(Answer(200, reply.content)), reply.skill, origin)
    return 0


def _weights(text: str) -> dict[str, float]:
    """v6_fixed=0.4,v8=0.6 as a mapping; whether they make sense is the service's to say."""
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError:
        message = f"expected generations and shares such as v6_fixed=0.4,v8=0.6, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _require_rich() -> None:
    from importlib.util import find_spec

    if find_spec("rich") is None:
        raise ConfigError("the table needs rich: pip install 'signalserve[cli]', or ask for --json")


# ---- candles


def _candles(args: argparse.Namespace) -> "tuple[Candles, str | None]":
    """The candles, and what must be said about where they come from."""
    from signalserve.demo import demo_candles

    if args.market and not args.exchange:
        raise ConfigError("--market: expected beside --exchange only, such as --exchange kraken --market BTC/USDT")
    if args.exchange:
        return _from_exchange(args)
    if args.demo:
        return demo_candles(args.symbol), _GENERATED
    return _from_file(args), None


def _from_file(args: argparse.Namespace) -> "Candles":
    from signalserve.candle_files import read_candles
    from signalserve.features import MIN_CANDLES

    candles = _closed(read_candles(args.candles), time.time_ns() // 1_000_000)
    if len(candles) < MIN_CANDLES:
        expected = f"expected at least {MIN_CANDLES:,} closed bars (60, and 1,000 for the averages to settle)"
        raise DataError(f"{args.candles}: {expected}, got {len(candles):,}")
    return candles


def _from_exchange(args: argparse.Namespace) -> "tuple[Candles, str]":
    from signalserve.exchange import market_of, open_exchange, recent_candles
    from signalserve.features import MIN_CANDLES

    exchange = open_exchange(args.exchange)
    market = market_of(exchange, args.symbol, args.market)
    where = f"{market} at {exchange.id}"
    with _progress(f"candles of {where}") as on_progress:
        candles = recent_candles(exchange, market, MIN_CANDLES, on_progress=on_progress)
    return candles, f"candles of {where}: {_OTHER_MARKET}"


@contextmanager
def _progress(task: str) -> "Iterator[Progress]":
    """Says the task on standard error, and on a terminal how far it is."""
    is_terminal = sys.stderr.isatty()

    def show(came: int, total: int) -> None:
        if is_terminal:
            print(f"\rsignalserve: {task}, {came:,} of {total:,}", end="", file=sys.stderr, flush=True)

    print(f"signalserve: {task}", end="" if is_terminal else "\n", file=sys.stderr, flush=True)
    try:
        yield show
    finally:
        if is_terminal:
            print(file=sys.stderr)


def _closed(candles: "Candles", now_ms: int) -> "Candles":
    """Without the bars that have not closed yet, which exchanges send along; says so where there are any."""
    from signalserve.candles import FIELDS, INTERVAL_MS

    closed = int((candles.timestamp_ms + INTERVAL_MS <= now_ms).sum())
    if closed < len(candles):
        print(f"signalserve: left out {len(candles) - closed} bar(s) that have not closed yet", file=sys.stderr)
    return replace(candles, **{name: getattr(candles, name)[:closed] for name in FIELDS})


# ---- who answers


def _ask(url: str, call: "Call[Prediction]") -> Reply:
    from signalserve.client import SignalClient, requests

    with SignalClient(url) as client:
        return Reply(client.send(requests.raw(call)))


def _answer_here(args: argparse.Namespace, call: "Call[Prediction]") -> Reply:
    """The same bytes to a Service in this process. Raises ConfigError where what it imports is missing."""
    from signalserve.client.responses import Answer, success

    try:
        from signalserve.service import RawRequest, Service
        from signalserve.skill import skill_words

        service = Service.load(args.model_store, args.endpoint, settings_path=args.settings)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"running the models here needs {error.name}: pip install 'signalserve[cpu]', or name a service by --url"
        ) from error
    headers = {name.lower(): value for name, value in call.headers.items()}
    [answer] = service.answer([RawRequest(call.content, headers)])
    content = success(Answer(answer.status, answer.body))
    models = service.models[args.symbol]
    answered = [answer.generation for answer in call.read(Answer(200, content)).models]
    skill = [skill_words(model.bundle.manifest) for generation, model in models.items() if generation in answered]
    return Reply(content, tuple(skill))


# ---- the table


def _show(prediction: "Prediction", skill: tuple[str, ...], origin: str | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    direction = f"[bold {_COLOURS[prediction.direction]}]{prediction.direction}[/]"
    console.print(f"[bold]{prediction.symbol}[/bold]  {direction}  confidence {prediction.confidence:.3f}")
    console.print(_answered_by(prediction), style="dim")
    console.print(_probabilities(prediction))
    console.print(_models(prediction.models))
    for line in _remarks(prediction, origin):
        console.print(f"[yellow]![/yellow] {line}")
    _print_skill(console, skill)


def _answered_by(prediction: "Prediction") -> str:
    parts = [f"as of {_moment(prediction.as_of)}", f"by {prediction.variant} (mode {prediction.mode})"]
    if prediction.arm is not None:
        parts.append(f"arm {prediction.arm}")
    if prediction.pool is not None:
        parts.append(f"{prediction.pool.method} pool, T {prediction.pool.temperature:g}")
    return "  ·  ".join(parts)


def _moment(as_of: datetime | None) -> str:
    if as_of is None:
        return "an unknown time"
    return f"{as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {_age(datetime.now(UTC) - as_of)}"


def _age(age: timedelta) -> str:
    """How long ago, in the largest unit that gives at least 2."""
    seconds = age.total_seconds()
    if seconds < 0:
        return f"{-seconds:.0f} s ahead of this machine's clock"
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _probabilities(prediction: "Prediction") -> "Table":
    from rich.table import Table

    from signalserve.client import DIRECTIONS

    table = Table.grid(padding=(0, 2))
    for name in DIRECTIONS:
        share = prediction.probabilities[name]
        table.add_row(name, f"{share:.3f}", f"[{_COLOURS[name]}]{'█' * round(_BAR * share)}[/]")
    return table


def _models(answers: "tuple[ModelAnswer, ...]") -> "Table":
    from rich import box
    from rich.table import Table

    from signalserve.client import DIRECTIONS

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("model", "weight", "T", "raw logits", "clamped", "probabilities"):
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for answer in answers:
        table.add_row(
            f"{answer.generation} {answer.version}",
            f"{answer.weight:.2f}",
            f"{answer.temperature:.3g}",
            " ".join("none" if logit is None else f"{logit:.2f}" for logit in answer.raw_logits),
            "yes" if answer.clamped else "no",
            " ".join(f"{answer.probabilities[name]:.3f}" for name in DIRECTIONS),
        )
    return table


def _remarks(prediction: "Prediction", origin: str | None) -> Iterator[str]:
    from signalserve.client import explain

    if origin is not None:
        yield origin
    for warning in prediction.warnings:
        yield f"{warning}: {explain(warning)}"


def _print_skill(console: "Console", skill: tuple[str, ...]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if skill:
        console.print("What the models are worth, on bars they had not seen:")
    for line in skill:
        console.print(Padding(Text(line), (0, 0, 0, 2)))
