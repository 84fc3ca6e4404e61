"""What the workers count, added up over their files, as the text that Prometheus reads.

The same page as prometheus_client's MultiProcessCollector gives, in a fraction of its time: it parses the JSON of each
series, escapes its labels and sorts its buckets at every scrape, though nothing but the numbers has changed. Here all
of that is kept from one scrape to the next.
"""

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.utils import floatToGoString

MERGED: Final[Mapping[str, Callable[[float, float], float]]] = {
    "counter": operator.add,
    "histogram": operator.add,
    "gauge_livemax": max,
    "gauge_livemin": min,
}
"""Kind of a file -> how the values of a series that stands in several become one."""

_ZERO: Final = "0.0\n"
_text_of: Final[Callable[[float], str]] = floatToGoString


_Member = tuple[str, str, dict[str, str]]
"""A key of the files, and the sample and labels that it names."""
_Sample = tuple[str, dict[str, str], Sequence[str]]
"""A sample of the page, its labels, and the keys whose values it adds up."""


class _Line(NamedTuple):
    """start: all that stands before the value, lines of HELP and TYPE included.  keys: whose values are added up."""

    start: str
    keys: Sequence[str]


class WorkerCounts:
    """folder: PROMETHEUS_MULTIPROC_DIR, in which the workers count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kinds: dict[str, str] = {}
        self._lines: list[_Line] = []

    def text(self) -> bytes:
        """As it is now. Raises ValueError for a kind of gauge that is not in MERGED."""
        values: dict[str, float] = {}
        kinds: dict[str, str] = {}
        for path in self._folder.glob("*.db"):
            kind = path.stem.rpartition("_")[0]
            if kind not in MERGED:
                raise ValueError(f"{path}: expected a file of {', '.join(MERGED)}; add {kind} to MERGED")
            merge = MERGED[kind]
            for key, value in read_values(path):
                if key in values:
                    values[key] = merge(values[key], value)
                else:
                    values[key], kinds[key] = value, kind
        if kinds != self._kinds:
            self._kinds, self._lines = kinds, _lines_of(kinds)
        return "".join(
            f"{start}{_text_of(sum(map(values.__getitem__, keys)))}\n" for start, keys in self._lines
        ).encode()


def read_values(path: Path) -> Iterator[tuple[str, float]]:
    """(key, value) of every series in one process's file; nothing of one that it has not written to yet."""
    if path.stat().st_size == 0:
        return
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
        yield key, value


def _lines_of(kinds: Mapping[str, str]) -> list[_Line]:
    """The page's lines but for their values. kinds: of each key, which is JSON: metric, sample, labels and help."""
    metrics: dict[str, Metric] = {}
    members: dict[str, list[_Member]] = {}
    for key, kind in kinds.items():
        metric, sample, labels, documentation = json.loads(key)
        metrics.setdefault(metric, Metric(metric, documentation, kind.partition("_")[0]))
        members.setdefault(metric, []).append((key, sample, labels))
    all_keys: list[Sequence[str]] = []
    for name, metric in metrics.items():
        samples = _cumulated(members[name]) if metric.type == "histogram" else _single(members[name])
        for sample, labels, keys in samples:
            metric.add_sample(sample, labels, 0.0)
            all_keys.append(keys)
    registry: Any = SimpleNamespace(collect=metrics.values)
    starts = _starts(generate_latest(registry).decode())
    return [_Line(start, keys) for start, keys in zip(starts, all_keys, strict=True)]


def _single(members: Iterable[_Member]) -> Iterator[_Sample]:
    for key, sample, labels in members:
        yield sample, labels, (key,)


def _cumulated(members: Iterable[_Member]) -> Iterator[_Sample]:
    """A histogram's files hold its sum and each bucket by itself; the page wants what is up to each edge, and all."""
    series: dict[tuple[tuple[str, str], ...], dict[float, str]] = {}
    for key, sample, labels in members:
        if "le" not in labels:
            yield sample, labels, (key,)
            continue
        name = sample.removesuffix("_bucket")
        edge = float(labels.pop("le"))
        series.setdefault(tuple(labels.items()), {})[edge] = key
    for labels_of, by_edge in series.items():
        edges = sorted(by_edge)
        keys = [by_edge[edge] for edge in edges]
        for count, edge in enumerate(edges, 1):
            yield f"{name}_bucket", {**dict(labels_of), "le": _text_of(edge)}, keys[:count]
        yield f"{name}_count", dict(labels_of), keys


def _starts(page: str) -> Iterator[str]:
    """A page on which every value is 0 -> what stands before each."""
    start = ""
    for line in page.splitlines(keepends=True):
        start += line
        if not line.startswith("#"):
            yield start.removesuffix(_ZERO)
            start = ""
