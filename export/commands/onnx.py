"""`signalserve onnx`: a model, or a symbol's whole ensemble, as one ONNX file that answers as the service does.

Scaler, network, clamp and temperature are inside; an ensemble's weights are an input. Each file is checked against
torch and float64 before any is written: on 1,000 windows of real bars where --bars or --features is given, else on
generated ones.
"""

import argparse
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from export.commands.pack import add_options
from export.options import add_data, check_writable, screen_of, source_of
from signalserve.errors import ConfigError, DataError

if TYPE_CHECKING:
    from export.onnx_check import Windows
    from export.onnx_files import OnnxFile
    from signalserve.settings import Pool


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("onnx", help="export a model or an ensemble as one file", description=__doc__)
    parser.add_argument(
        "bundles", nargs="*", metavar="BUNDLE", help="folder, or generation/symbol[/version] in the model store"
    )
    parser.add_argument("--ensemble", nargs="+", default=[], metavar="SYMBOL", help="such as BTC-USD: all its models")
    parser.add_argument("--pool", choices=["linear", "log"], help="of the ensemble (default: as the settings say)")
    parser.add_argument("--temperature", type=float, help="of the pool (default: as the settings say)")
    add_options(parser)
    add_data(parser, required=False)
    parser.add_argument(
        "--out", type=Path, default=Path("var/onnx"), metavar="DIR", help="where files go (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON, and nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises OperatorError; nothing is written unless every file agrees."""
    from export.onnx_check import RUNS, check

    check_writable(args.out)
    screen = screen_of(args)
    files = _files(args)
    checked = []
    for file in files:
        windows, which = _windows(args, file)
        with screen.progress(f"checking {file.stem}", RUNS * len(windows)) as progress:
            checked.append((file, which, check(file, windows, progress)))
    paths = [_write(args.out, file) for file, _, _ in checked]  # all, before a reader of the output can go away
    written = []
    for path, (file, which, agreement) in zip(paths, checked, strict=True):
        written.append(
            {
                "file": str(path),
                "bytes": len(file.content),
                "sha256": hashlib.sha256(file.content).hexdigest(),
                "windows_from": which,
                **asdict(agreement),
            }
        )
        screen.say(
            f"wrote {path}, {len(file.content) / 1e3:,.0f} kB; largest difference of a probability on "
            f"{agreement.windows:,} {which} windows: {agreement.torch.probability:.1e} from torch, "
            f"{agreement.float64.probability:.1e} from float64"
        )
    if args.json:
        print(json.dumps(written, indent=1))
    return 0


def _files(args: argparse.Namespace) -> "list[OnnxFile]":
    from export.onnx_files import ensemble_bundles, ensemble_file, model_file
    from export.versions import find_bundle
    from signalserve.settings import load_settings

    if not args.bundles and not args.ensemble:
        raise ConfigError(
            "expected models or an ensemble to export, got neither: pass v8/BTC-USD or --ensemble BTC-USD"
        )
    if not args.ensemble and (args.pool or args.temperature is not None):
        raise ConfigError("--pool, --temperature: expected with --ensemble SYMBOL alone; a model keeps its own")
    files = [model_file(find_bundle(words, args.model_store)) for words in args.bundles]
    if args.ensemble:
        settings = load_settings(args.settings)
        for symbol in args.ensemble:
            own = settings.of(symbol)
            found = ensemble_bundles(args.model_store, symbol, settings)
            files.append(ensemble_file(found, _pool(args, own.pool), own.weights))
    stems = [file.stem for file in files]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice:
        raise ConfigError(f"expected each model once, got two that would be {twice}.onnx; export them to two folders")
    return files


def _pool(args: argparse.Namespace, configured: "Pool") -> "Pool":
    """The configured pool with what the command line says otherwise. Raises ConfigError."""
    from math import isfinite

    if args.temperature is not None and not (isfinite(args.temperature) and args.temperature > 0):
        raise ConfigError(f"--temperature: expected a finite number above 0, got {args.temperature:g}")
    said = {"method": args.pool, "temperature": args.temperature}
    return configured.model_copy(update={name: value for name, value in said.items() if value is not None})


def _windows(args: argparse.Namespace, file: "OnnxFile") -> "tuple[Windows, str]":
    """What to check a file on, and what they are in a word."""
    from export.onnx_check import generated_windows, real_windows
    from export.series import read_series

    if args.bars is None and args.features is None:
        return generated_windows(file), "generated"
    series = read_series(source_of(args), file.symbol, file.schema.columns, file.schema.interval_ms)
    return real_windows(file, series), "real"


def _write(folder: Path, file: "OnnxFile") -> Path:
    """Write a file as a whole. Raises DataError where the folder can't be written to."""
    path = folder / f"{file.stem}.onnx"
    new = folder / f".{path.name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            new.write_bytes(file.content)
            return new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"--out {folder}: {error.strerror or error}; mend it or name another folder") from None
