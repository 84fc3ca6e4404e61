"""A bot's loop: every so often, ask for each symbol's prediction and decide. It trades nothing; it prints.

    signalserve serve &                       # or any running service, by --url
    python examples/bot.py --once             # ask once for each symbol
    python examples/bot.py --every 60         # generated candles, a new one each minute, until Ctrl-C
    python examples/bot.py --exchange kraken  # its newest closed candles; needs pip install 'signalserve[exchange]'
    python examples/bot.py --symbols BTC-USD --candles bars.parquet --every 1      # replay a file, a bar a second

What a bot of your own needs is `decide` and `ask`: what to do with an answer, and with each class of error.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from signalserve.candle_files import read_candles
from signalserve.candles import FIELDS, INTERVAL_MS, Candles
from signalserve.client import (
    BadCandles,
    InvalidInput,
    NoAnswer,
    Prediction,
    RequestRefused,
    ServiceUnavailable,
    SignalClient,
    SignalError,
)
from signalserve.demo import demo_candles
from signalserve.errors import ConfigError, DataError
from signalserve.exchange import Exchange, market_of, open_exchange, recent_candles

LEAST_BARS = 1060  # a window of 60, and 1,000 for the longest average to settle
BARS = 1200  # what we send

# Of three classes a guess has 1/3. If the confidence is calibrated, 0.75 is right three times in four, which leaves
# room for costs; how far it is calibrated, each model's report says. The reference models hardly ever get there.
THRESHOLD = 0.75

# Warnings under which a direction or its confidence means too little to act on. A pool's weights or a bundle's gates
# are the operator's decision, so those two warnings are only printed.
NEVER_ON = {"clamped", "clamp_tie", "features_off_scale", "stale_input", "degraded"}


def decide(prediction: Prediction, threshold: float) -> str:
    """Buy, sell, or hold and why."""
    doubts = [w for w in prediction.warnings if w in NEVER_ON or w.startswith("invariant_")]
    if doubts:
        return f"hold ({', '.join(doubts)})"
    if prediction.direction == "NEUTRAL":
        return "hold (neutral)"
    if prediction.confidence < threshold:
        return f"hold (below {threshold:.2f})"
    return "BUY" if prediction.direction == "UP" else "SELL"


def ask(client: SignalClient, symbol: str, candles: Candles | DataError, threshold: float) -> str:
    """One round for one symbol, as a line to print. Raises the errors after which no further round can go better.

    candles: or why there are none this time.
    """
    if isinstance(candles, DataError):
        return f"hold (no candles: {candles})"
    try:
        prediction = client.predict(symbol, candles=candles)
    except (ServiceUnavailable, NoAnswer) as error:
        # Theirs, and it passes: the client has tried again already. Open positions keep their own stops.
        return f"hold (no prediction after {error.attempts} attempts: {error})"
    except (InvalidInput, BadCandles) as error:
        # Our data: a gap, a NaN, a bar that has not closed. The next download may be whole.
        return f"hold (bad candles: {error})"
    decision = decide(prediction, threshold)
    answered = f"{prediction.direction:8}{prediction.confidence:.3f}  by {prediction.variant}"
    return f"{prediction.as_of:%H:%M}  {answered}  -> {decision}"


def live(symbol: str) -> Iterator[Candles]:
    """A generated market of a week, as it stands whenever it is asked: the bars that have closed by then."""
    now_ms, minutes = time.time_ns() // 1_000_000, 7 * 24 * 60
    week = demo_candles(symbol, BARS + 1 + minutes, end_ms=now_ms + minutes * INTERVAL_MS)  # 1: the bar still open
    closed = 0
    while closed < len(week):
        closed = int((week.timestamp_ms + INTERVAL_MS <= time.time_ns() // 1_000_000).sum())
        yield window(week, closed)


def traded(exchange: Exchange, symbol: str, market: str | None) -> Iterator[Candles | DataError]:
    """An exchange's newest closed bars whenever it is asked; each time only those that are new are fetched."""
    known = None
    while True:
        try:
            known = recent_candles(exchange, market_of(exchange, symbol, market), LEAST_BARS, known=known)
            yield known
        except DataError as error:  # it can't be reached, or has no whole series: the next round may go better
            yield error


def replay(path: Path) -> Iterator[Candles]:
    """A file's bars, one further each time. Their age makes every answer `stale_input`."""
    candles = read_candles(path)
    if len(candles) < LEAST_BARS:
        raise DataError(f"{path}: expected at least {LEAST_BARS} bars, got {len(candles)}")
    for end in range(min(BARS, len(candles)), len(candles) + 1):
        yield window(candles, end)


def window(candles: Candles, end: int) -> Candles:
    """The last BARS bars before position `end`."""
    return replace(candles, **{name: getattr(candles, name)[max(0, end - BARS) : end] for name in FIELDS})


def feeds_of(args: argparse.Namespace) -> dict[str, Iterator[Candles | DataError]]:
    """What each symbol's candles come from."""
    if args.exchange:
        exchange = open_exchange(args.exchange)  # one for all symbols, so that together they keep its rate limit
        return {symbol: traded(exchange, symbol, args.market) for symbol in args.symbols}
    return {symbol: replay(args.candles) if args.candles else live(symbol) for symbol in args.symbols}


def loop(client: SignalClient, args: argparse.Namespace) -> None:
    """Until the candles end, Ctrl-C, or an error that stays."""
    feeds = feeds_of(args)
    next_round = time.monotonic()
    while True:
        for symbol, feed in feeds.items():
            candles = next(feed, None)
            if candles is None:
                return
            print(f"{symbol:8}  {ask(client, symbol, candles, args.threshold)}", flush=True)
        if args.once:
            return
        next_round += args.every  # from the plan, not from now: rounds don't drift by the time they take
        time.sleep(max(0.0, next_round - time.monotonic()))


def main() -> int:
    parser = argparse.ArgumentParser(description="A bot's loop against a running service.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the service (default %(default)s)")
    parser.add_argument("--symbols", nargs="+", default=["BTC-USD", "ETH-USD", "SOL-USD"], metavar="SYMBOL")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--candles", type=Path, metavar="FILE", help="replay this file instead of generated candles")
    source.add_argument("--exchange", metavar="NAME", help="an exchange's candles instead, such as kraken")
    parser.add_argument("--market", metavar="BTC/USDT", help="at --exchange (default: each symbol's own, in USD)")
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="a round's length (default 60)")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="least confidence to act on (default 0.75)")
    parser.add_argument("--once", action="store_true", help="one round and out")
    args = parser.parse_args()
    if (args.candles or args.market) and len(args.symbols) > 1:
        parser.error("--candles and --market are of one symbol: name it with --symbols")
    if args.market and not args.exchange:
        parser.error("--market is one at an exchange: name that with --exchange")
    try:
        with SignalClient(args.url) as client:
            loop(client, args)
    except KeyboardInterrupt:
        print("stopped")
    except RequestRefused as error:
        print(f"refused, and would be again: mend the request: {error}", file=sys.stderr)
        return 1
    except (SignalError, ConfigError, DataError) as error:  # MalformedAnswer: somebody else listens there
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
