"""A service whose windows of drift are full: a journal that is filled before, and bots that go on asking."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

import httpx
from history import History
from journal import fill
from load import Connection, HttpRequest
from programs import ProgramError
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from servers import Signalserve
from subject import Subject, make_subject

from signalserve.bundle import Bundle
from signalserve.drift import WINDOWS
from signalserve.journal.reading import maker, open_journal
from signalserve.journal.store import JournalStore
from signalserve.watcher.references import FOLDER, References, model_references

MINUTES: Final = WINDOWS[-1]
"""Predictions an arm: of the longest window."""

FIRST_S: Final = 946_684_800
"""2000-01-01, where the filled part ends and the requests' as_of begin; before it no exchange had these symbols."""

KEEP: Final = ("--keep-days", "36500")
"""Options of a service on such a journal: by its own clock all of it is too old to keep."""

REFERENCES_S: Final = 300.0
FULL_S: Final = 60.0
BOT_S: Final = 1.0


def prefill(journal: Path, bundles: Sequence[Bundle], console: Console) -> None:
    """A day of predictions of each arm, made as a service of `subject.write_settings` makes them, and the pools'
    references: so that no service makes them while it is measured.

    Raises ProgramError for bundles without references: nothing would be computed.
    """
    without = [bundle.name for bundle in bundles if bundle.reference.get("drift") is None]
    if without:
        raise ProgramError(
            f"expected bundles with references of drift, {', '.join(without)} have none: "
            "signalserve calibrate --reference-only makes them"
        )
    history = History(bundles, MINUTES, FIRST_S * 1000)
    store = JournalStore(journal, keep_days=float(KEEP[1]))
    try:
        fill(store, journal, history, MINUTES, console)
    finally:
        store.close()
    console.print("making the pools' references")
    references = References(model_references(bundles), journal / FOLDER)
    with closing(open_journal(journal)) as connection, closing(references):
        for symbol in history.symbols:
            made_by = maker(connection, symbol, "ensemble")
            assert made_by is not None
            deadline = time.monotonic() + REFERENCES_S
            while references.of(made_by) is None:
                if time.monotonic() > deadline:
                    raise ProgramError(f"no reference of {symbol}'s pool after {REFERENCES_S:.0f} s")
                time.sleep(0.2)


def subjects_of(model_store: Path, bundles: Sequence[Bundle], folder: Path) -> Mapping[str, Subject]:
    """symbol -> what to ask of it."""
    symbols = sorted({bundle.manifest.symbol for bundle in bundles})
    return {symbol: make_subject(model_store, folder / symbol, symbol) for symbol in symbols}


def page_of(service: Signalserve) -> str:
    return httpx.get(f"{service.watcher_url}/metrics", trust_env=False, timeout=30).raise_for_status().text


def values_of(page: str, name: str, **labels: str) -> list[float]:
    """The samples of that name on a /metrics that have these labels, whatever others."""
    samples = chain.from_iterable(family.samples for family in text_string_to_metric_families(page))
    return [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]


def not_full(page: str) -> list[str]:
    """Arms whose longest window is not full, or that have no reference with limits, in words; [] where all is well."""
    found = {
        "predictions in the longest window": (values_of(page, "signalserve_drift_n", window=str(MINUTES)), MINUTES),
        "references with limits": (values_of(page, "signalserve_drift_reference"), 1),
    }
    return [
        f"{what}: expected {wanted} of each arm, got {values or 'none'}"
        for what, (values, wanted) in found.items()
        if set(values) != {wanted}
    ]


def wait_until_full(service: Signalserve) -> None:
    """Raises ProgramError where drift is not computed over full windows within FULL_S."""
    deadline = time.monotonic() + FULL_S
    while faults := not_full(page_of(service)):
        if time.monotonic() > deadline:
            raise ProgramError(f"{service.name}: {'; '.join(faults)}\n{service.program.log_tail(100)}")
        time.sleep(0.5)


@contextmanager
def asked_every_second(requests: Sequence[HttpRequest]) -> Iterator[None]:
    """Bots beside what is measured, so that every arm has said something new whenever its drift is looked at.

    requests: each asked once in BOT_S, a minute later each time. Raises ProgramError at the end for an answer that was
    not right, and LoadError where there was none.
    """
    end = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(_ask, requests, end)
        try:
            yield
        finally:
            end.set()
        asking.result()


def _ask(requests: Sequence[HttpRequest], end: threading.Event) -> None:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(Connection((one.host, one.port), one.payloads(), one.expect.encode()))
            for one in requests
        ]
        while not end.wait(BOT_S):
            for connection in connections:
                connection.ask()
                while (answer := connection.take()) is None:
                    pass
                _, fault, spent = answer
                if fault:
                    raise ProgramError(f"a bot beside what is measured got {fault}")
                if spent:
                    connection.reopen()
