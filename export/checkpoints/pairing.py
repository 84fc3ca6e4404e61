"""Which scaler belongs to a checkpoint: the one that is named, else the file's own, else one that lies beside it.

A forgotten scaler is what sent V6's logits to ±4 million, so that nothing here is silent: where it comes from, what
contradicts it, what lies there and was not taken, and that there is none.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from export.checkpoints.files import named
from export.checkpoints.pickle_values import printable
from export.checkpoints.scalers import FoundScaler, read_scaler, scaler_in
from signalserve.candle_files import symbol_of_name
from signalserve.errors import CheckpointError

SUFFIXES: Final = (".pkl", ".pickle")

UNSCALED: Final = (
    "NO SCALER was found: features go in unscaled, which is how V6's logits reached ±4 million; pass the scaler it was "
    "trained with by --scaler, or run signalserve fix"
)


def choose_scaler(
    path: Path,
    tree: Mapping[str, Any],
    inputs: int,
    *,
    given: Path | None,
    symbol: str,
    generations: Collection[str],
    notes: list[str],
) -> FoundScaler | None:
    """The scaler of a checkpoint; None where there is none, which the notes say loudly.

    tree: what the file holds.  inputs: of its network.  given: the scaler's file, where its owner names one.
    generations: by which a scaler beside it may be called.  notes: is told what was passed over and why.
    Raises CheckpointError where the one named or the file's own is not the network's, and where the only one beside it
    cannot be read.
    """
    named_one = read_scaler(given) if given is not None else None
    try:
        own = scaler_in(tree, printable(path.name))
    except CheckpointError as error:
        if named_one is None:
            raise
        notes.append(f"the file's own scaler cannot be used: {error}")
        own = None
    surest = [scaler for scaler in (named_one, own) if scaler is not None]
    if surest and len(surest[0].mean) != inputs:
        raise CheckpointError(
            f"{surest[0].source}: expected a scaler of the network's {inputs} columns, got one of "
            f"{len(surest[0].mean)}; pass the one it was trained with by --scaler"
        )
    paired = scalers_beside(path, symbol, generations) if named_one is None else []
    beside = _fitting(paired, inputs, notes, may_fail=bool(surest))
    candidates = [*surest, *beside]
    if not candidates:
        notes.insert(0, UNSCALED)
        notes.extend(_left_lying(path, symbol, generations, paired))
        return None
    chosen, *others = candidates
    notes.extend(
        f"{other.source} holds another scaler than {chosen.source}, which is taken"
        for other in others
        if not other.same_as(chosen)
    )
    return chosen


def _fitting(files: Collection[Path], inputs: int, notes: list[str], *, may_fail: bool) -> list[FoundScaler]:
    """The scalers of the network's width; the others are noted.

    may_fail: whether a file that cannot be read is a note too, since there is a scaler already; raises otherwise.
    """
    fitting: list[FoundScaler] = []
    faults: dict[Path, CheckpointError] = {}
    for file in files:
        try:
            scaler = read_scaler(file)
        except CheckpointError as error:
            faults[file] = error
            continue
        if len(scaler.mean) == inputs:
            fitting.append(scaler)
        else:
            notes.append(
                f"{scaler.source} lies beside it and was not taken: it scales {len(scaler.mean)} columns, the network "
                f"reads {inputs}"
            )
    if faults and not (fitting or may_fail):
        raise next(iter(faults.values()))
    notes.extend(
        f"{printable(file.name)} lies beside it and was not taken: {str(fault).removeprefix(f'{named(file)}: ')}"
        for file, fault in faults.items()
    )
    return fitting


def scalers_beside(path: Path, symbol: str, generations: Collection[str]) -> list[Path]:
    """Files beside a checkpoint whose names pair them with it, the likeliest first.

    <stem>_scaler.pkl and scaler_<stem>.pkl, then scaler_<symbol>_<generation>.pkl and scaler_<symbol>.pkl, each also
    with `processor`; the symbol in any spelling.
    """
    by_stem: list[Path] = []
    by_generation: list[Path] = []
    by_symbol: list[Path] = []
    for file in _scalers_by_name(path):
        match = re.fullmatch(r"(?:scaler|processor)_(.+)|(.+)_(?:scaler|processor)", file.stem, re.IGNORECASE)
        if not match or file.suffix.lower() not in SUFFIXES:
            continue
        whose = match[1] or match[2]
        if whose == path.stem:
            by_stem.append(file)
        elif _spells(whose, symbol):
            by_symbol.append(file)
        elif any(_spells(whose.removesuffix(f"_{name}"), symbol) for name in generations):
            by_generation.append(file)
    return by_stem + by_generation + by_symbol


def _left_lying(path: Path, symbol: str, generations: Collection[str], paired: Collection[Path]) -> list[str]:
    """A sentence for each scaler beside a checkpoint that may be its own, by its name, and was not paired with it."""
    left = [
        file for file in _scalers_by_name(path) if file not in paired and symbol_of_name(file.stem) in (None, symbol)
    ]
    stems = (f"scaler_{symbol}", *(f"scaler_{symbol}_{name}" for name in generations), f"{path.stem}_scaler")
    expected = " or ".join(printable(f"{stem}{SUFFIXES[0]}") for stem in stems)
    return [
        f"{printable(file.name)} lies beside it and was not taken: it is not called {expected}; pass it by --scaler if "
        "it is this network's"
        for file in left[:3]
    ]


def _scalers_by_name(path: Path) -> list[Path]:
    files = (file for file in sorted(path.parent.iterdir()) if file != path and file.is_file())
    return [file for file in files if re.search("(^|_)(scaler|processor)(_|$)", file.stem, re.IGNORECASE)]


def _spells(name: str, symbol: str) -> bool:
    """Whether a name is the symbol and nothing else: BTC, BTCUSDT, BTC-USD."""
    return symbol_of_name(re.sub(r"[^A-Za-z0-9]+", "", name)) == symbol
