"""What a spool line becomes: rows of the journal's tables, and which of them statistics leave out."""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from signalserve.journal import outcomes
from signalserve.journal.counts import bump
from signalserve.journal.lines import (
    ArmLine,
    BundleLine,
    ClosesLine,
    ConfigLine,
    EventLine,
    PredictionLine,
    decode_line,
)

_COLUMNS: Final = (
    "prediction_id", "request_id", "endpoint", "symbol", "as_of_ms", "received_ms", "time_ms", "arm", "answered",
    "mode", "assigned", "degraded", "left_out", "config_id", "bundle_id", "pool", "logit_down", "logit_neutral",
    "logit_up", "p_down", "p_neutral", "p_up", "temperature", "latency_ms", "warnings", "close", "feed", "horizon_ms",
    "band", "off_scale", "largest_z",
)  # fmt: skip
_INSERT: Final = f"INSERT INTO predictions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608

# the counted index finds it by time_ms, which is as_of_ms where there is one
_COUNTED: Final = """
    SELECT row_id, feed IS NULL AND outcome IS NULL FROM predictions
    WHERE symbol = ? AND arm = ? AND time_ms = ? AND as_of_ms IS NOT NULL AND left_out IS NULL LIMIT 1
"""

_UNFIT: Final = (
    ValueError, TypeError, ArithmeticError, LookupError, AttributeError,
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
)  # fmt: skip
"""What the values of a line can bring about, as against a disk or database that fails: sqlite3.OperationalError."""


@dataclass(frozen=True)
class _Bundle:
    """What a row needs of a model: its id, and its label's rule where that is known."""

    bundle_id: int
    horizon_ms: int | None
    band: float | None


class Rows:
    """Puts lines into the tables, within the transaction of its caller, who calls `forget` after a rollback."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.forget()

    def forget(self) -> None:
        """Let go of everything remembered of rows that may not be there any more."""
        self._bundles: dict[str, _Bundle] = {}
        self._configs: dict[str, int] = {}
        self._in_force: dict[tuple[str, int], tuple[str, str | None]] = {}

    def put(self, raw: bytes, now_ms: int) -> None:
        """Take one line in. Raises ValueError, and changes nothing, where it can't be read or its values don't fit."""
        try:
            line = decode_line(raw)
        except (ValueError, TypeError) as error:
            raise ValueError(str(error)) from error
        self._connection.execute("SAVEPOINT line")
        try:
            match line:
                case PredictionLine():
                    self._prediction(line, now_ms)
                case ClosesLine():
                    outcomes.take_closes(self._connection, line, now_ms)
                case BundleLine():
                    self._bundle_line(line)
                case ConfigLine():
                    self._config_line(line, raw)
                case EventLine():
                    self._event(line.event_id, line.at_ms, line.event, line.who, line.why, line.content)
        except _UNFIT as error:
            self._connection.execute("ROLLBACK TO line")
            self._connection.execute("RELEASE line")
            self.forget()
            raise ValueError(f"the {line.kind} line cannot be stored: {error}") from error
        self._connection.execute("RELEASE line")

    def _prediction(self, line: PredictionLine, now_ms: int) -> None:
        stored = {
            arm
            for (arm,) in self._connection.execute(
                "SELECT arm FROM predictions WHERE prediction_id = ?", (line.prediction_id,)
            )
        }
        new = [arm for arm in line.arms if arm.arm not in stored]
        for arm in new:
            self._arm(line, arm)
        if new and line.as_of_ms is not None:
            outcomes.label_late(self._connection, line.prediction_id, now_ms)

    def _arm(self, line: PredictionLine, arm: ArmLine) -> None:
        left_out = self._left_out(line, arm)
        members = [self._bundle(sha256) for sha256 in arm.bundles]
        if arm.method is None:
            [model] = members
            bundle_id, pool = model.bundle_id, None
        else:
            pairs = zip(arm.bundles, arm.weights, strict=True)
            bundle_id, pool = None, _json({"method": arm.method, "members": [_member(*pair) for pair in pairs]})
        rules = {(member.horizon_ms, member.band) for member in members}
        horizon_ms, band = rules.pop() if len(rules) == 1 else (None, None)
        down, neutral, up = _three(arm.raw_logits)
        p_down, p_neutral, p_up = arm.probabilities
        time_ms = line.received_ms if line.as_of_ms is None else line.as_of_ms
        self._connection.execute(
            _INSERT,
            (
                line.prediction_id, line.request_id, line.endpoint, line.symbol, line.as_of_ms, line.received_ms,
                time_ms, arm.arm, arm.answered, line.mode, line.assigned, line.degraded, left_out,
                self._config(line.config), bundle_id, pool, down, neutral, up, p_down, p_neutral, p_up,
                arm.temperature, line.latency_ms, ",".join(arm.warnings), line.close, line.feed, horizon_ms, band,
                arm.off_scale, arm.largest_z,
            ),
        )  # fmt: skip

    def _left_out(self, line: PredictionLine, arm: ArmLine) -> str | None:
        if arm.out:
            return "out"
        if line.override:
            return "override"
        if line.as_of_ms is None:
            return None
        counted = self._connection.execute(_COUNTED, (line.symbol, arm.arm, line.as_of_ms)).fetchone()
        if counted is None:
            return None
        bump(self._connection, "repeats")
        row_id, has_no_outcome_to_come = counted
        if line.feed is None or not has_no_outcome_to_come:
            return "repeat"
        # a bot that sends features was first: by itself its row would never have an outcome
        self._connection.execute("UPDATE predictions SET left_out = 'repeat' WHERE row_id = ?", (row_id,))
        return None

    def _bundle(self, sha256: str) -> _Bundle:
        """A model's row, with no more than its hash where its line never came."""
        bundle = self._bundles.get(sha256)
        if bundle is None:
            self._connection.execute("INSERT INTO bundles (sha256) VALUES (?) ON CONFLICT DO NOTHING", (sha256,))
            bundle_id, horizon_ms, band = self._connection.execute(
                "SELECT bundle_id, interval_ms * horizon_bars, neutral_band FROM bundles WHERE sha256 = ?", (sha256,)
            ).fetchone()
            bundle = self._bundles[sha256] = _Bundle(bundle_id, horizon_ms, band)
        return bundle

    def _config(self, sha256: str) -> int:
        """The id of a configuration, whose text comes later or never where only predictions name it."""
        config_id = self._configs.get(sha256)
        if config_id is None:
            self._connection.execute("INSERT INTO configs (sha256) VALUES (?) ON CONFLICT DO NOTHING", (sha256,))
            [config_id] = self._connection.execute(
                "SELECT config_id FROM configs WHERE sha256 = ?", (sha256,)
            ).fetchone()
            self._configs[sha256] = config_id
        return config_id

    def _bundle_line(self, line: BundleLine) -> None:
        self._connection.execute(
            """
            INSERT INTO bundles (sha256, generation, symbol, version, temperature, clamp, interval_ms, horizon_bars,
                                 neutral_band, base_rates)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (sha256) DO UPDATE SET
                generation = excluded.generation, symbol = excluded.symbol, version = excluded.version,
                temperature = excluded.temperature, clamp = excluded.clamp, interval_ms = excluded.interval_ms,
                horizon_bars = excluded.horizon_bars, neutral_band = excluded.neutral_band,
                base_rates = excluded.base_rates
            """,
            (
                line.sha256, line.generation, line.symbol, line.version, line.temperature, line.clamp,
                line.interval_ms, line.horizon_bars, line.neutral_band,
                None if line.base_rates is None else _json(line.base_rates),
            ),
        )  # fmt: skip
        self._bundles.pop(line.sha256, None)

    def _config_line(self, line: ConfigLine, raw: bytes) -> None:
        self._connection.execute(
            """
            INSERT INTO configs (sha256, text, first_ms) VALUES (?, ?, ?)
            ON CONFLICT (sha256) DO UPDATE SET
                text = excluded.text, first_ms = min(coalesce(first_ms, excluded.first_ms), excluded.first_ms)
            """,
            (line.sha256, line.text, line.at_ms),
        )
        state = (line.sha256, line.error)
        if self._in_force.get((line.endpoint, line.worker)) == state:  # told again at the head of a new segment
            return
        self._in_force[line.endpoint, line.worker] = state
        self._event(
            hashlib.blake2b(raw, digest_size=16).hexdigest(),  # the same line has the same id, however often it comes
            line.at_ms,
            "config_in_force" if line.error is None else "config_refused",
            "worker",
            None,
            {"endpoint": line.endpoint, "worker": line.worker, "sha256": line.sha256, "error": line.error},
        )

    def _event(self, event_id: str, at_ms: int, event: str, who: str, why: str | None, content: dict[str, Any]) -> None:
        self._connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING",
            (event_id, at_ms, event, who, why, _json(content)),
        )


def _three(raw_logits: Sequence[float] | None) -> Sequence[float | None]:
    """DOWN, NEUTRAL, UP of a network that knows three classes, or two: no NEUTRAL."""
    if raw_logits is None:
        return None, None, None
    if len(raw_logits) == 2:
        return raw_logits[0], None, raw_logits[1]
    return raw_logits


def _member(sha256: str, weight: float) -> dict[str, Any]:
    return {"sha256": sha256, "weight": weight}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
