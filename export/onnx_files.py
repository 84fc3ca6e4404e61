"""Bundles -> ONNX files that need nothing else: scaler, network, clamp, temperature and an ensemble's pool are inside.

A model's file is what the service runs, with what it is written into it. The file of a symbol's ensemble reads one
window that holds every model's columns, and takes the weights as an input:

    windows (batch, window, features) float32, raw; weights (models,) float64
        -> probabilities (batch, 3), and of each model raw_logits_<generation> and probabilities_<generation>

It does not check the weights. Where they sum to c and not to 1, a linear pool sees their proportions alone, and a log
pool is sharper: it does what its formula says, as if the temperature were divided by c.
The same bundles give the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from signalserve.bundle import Bundle, Manifest, load_bundle, newest_bundles
from signalserve.engine import calibrated_model, export_module, onnx_bytes
from signalserve.ensemble import FLOOR, PoolMethod
from signalserve.errors import BundleError
from signalserve.models import schema_of
from signalserve.request import SymbolSchema
from signalserve.settings import GENERATIONS, Generation, Pool, Settings


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file and what it was made from.

    stem: its name without .onnx.  schema: what its windows hold.  module: what was exported, in float32.
    takes_weights: whether it is an ensemble's.
    """

    stem: str
    bundles: Sequence[Bundle]
    schema: SymbolSchema
    module: nn.Module
    content: bytes
    takes_weights: bool

    @property
    def symbol(self) -> str:
        return self.bundles[0].manifest.symbol


# ---- one model


def model_file(bundle: Bundle) -> OnnxFile:
    """The bundle as one file: windows -> raw_logits (batch, classes that it knows), probabilities (batch, 3)."""
    manifest, schema = bundle.manifest, schema_of([bundle])
    content = _described(
        onnx_bytes(bundle),
        f"{bundle.name}: raw features -> calibrated probabilities. Scaler, clamp and temperature are inside.",
        {"windows": _windows_doc(schema), **_output_docs(manifest)},
        {**_identity(bundle), **_reads(manifest.symbol, schema)},
    )
    return OnnxFile(
        bundle.name.replace("/", "_"), [bundle], schema, calibrated_model(bundle), content, takes_weights=False
    )


# ---- a symbol's ensemble


class Ensemble(nn.Module):
    """A symbol's models and their pool; `signalserve.ensemble.pool` in torch."""

    def __init__(self, models: Sequence[nn.Module], orders: Sequence[Sequence[int]], pool: Pool) -> None:
        """orders: for each model the positions of its columns in the window that all of them share."""
        super().__init__()
        self.models = nn.ModuleList(models)
        self.orders = [torch.tensor(order) for order in orders]
        self.pool = pool

    def forward(self, windows: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """windows: (batch, window, features of all models), raw.  weights: (models,), float64.

        Returns the pool's probabilities (batch, 3), then each model's raw logits and probabilities; float64.
        """
        answers = [model(windows[..., order]) for model, order in zip(self.models, self.orders, strict=True)]
        parts = torch.stack([probabilities for _, probabilities in answers])  # (models, batch, 3)
        pooled = pool_probabilities(parts, weights, self.pool.method, self.pool.temperature)
        return pooled, *(output for answer in answers for output in answer)


def pool_probabilities(probabilities: Tensor, weights: Tensor, method: PoolMethod, temperature: float) -> Tensor:
    """`signalserve.ensemble.pool` for tensors. probabilities: (models, batch, 3), weights: (models,) -> (batch, 3)."""
    shares = weights[:, None, None]  # (models, 1, 1)
    mixed = (shares * probabilities).sum(dim=0)  # (batch, 3)
    if method == "linear":
        pooled = torch.log(mixed.clamp(min=FLOOR))
    else:
        pooled = (shares * torch.log(probabilities.clamp(min=FLOOR))).sum(dim=0)
    impossible = (mixed <= 0) & (mixed.sum(dim=-1, keepdim=True) > 0)
    pooled = torch.where(impossible, -torch.inf, pooled)
    return torch.softmax((pooled - pooled.amax(dim=-1, keepdim=True)) / temperature, dim=-1)


def ensemble_bundles(store: Path, symbol: str, settings: Settings) -> list[Bundle]:
    """A symbol's models in force, one of each generation that is served. Raises BundleError where there is none."""
    served = [path for path in newest_bundles(store / "bundles", settings.bundles) if path.parts[-3] in GENERATIONS]
    bundles = [load_bundle(path) for path in served if path.parts[-2] == symbol]
    if not bundles:
        known = ", ".join(sorted({path.parts[-2] for path in served})) or "none"
        raise BundleError(f"{store}: expected a symbol that has served models, which are {known}; got {symbol}")
    return bundles


def ensemble_file(bundles: Sequence[Bundle], pool: Pool, weights: Mapping[Generation, float]) -> OnnxFile:
    """One symbol's models as one file, with the weights as an input.

    weights: as configured; the file says them in its metadata, and uses what it is given.
    Raises BundleError for models that don't read the same bars.
    """
    schema = schema_of(bundles)
    orders = [[schema.columns.index(column) for column in bundle.manifest.columns] for bundle in bundles]
    module = Ensemble([calibrated_model(bundle) for bundle in bundles], orders, pool).eval()
    symbol, generations = bundles[0].manifest.symbol, [bundle.manifest.generation for bundle in bundles]
    content = _described(
        _exported(module, schema, generations),
        f"{symbol}: the pool of {', '.join(generations)}. Scalers, clamps and temperatures are inside.",
        {
            "windows": _windows_doc(schema),
            "weights": f"({len(bundles)},) of {' '.join(generations)}: 0 or more, sum 1, which is not checked",
            "probabilities": f"(batch, 3) DOWN NEUTRAL UP: {pool.method} pool, temperature {pool.temperature:g}",
            **{
                f"{output}_{bundle.manifest.generation}": words
                for bundle in bundles
                for output, words in _output_docs(bundle.manifest).items()
            },
        },
        {
            "generation": "ensemble",
            "models": json.dumps([_identity(bundle) for bundle in bundles]),
            "pool": pool.method,
            "pool_temperature": repr(pool.temperature),
            "weights": json.dumps(_shares(weights, generations)),
            **_reads(symbol, schema),
        },
    )
    return OnnxFile(f"ensemble_{symbol}", bundles, schema, module, content, takes_weights=True)


def _shares(weights: Mapping[Generation, float], generations: Sequence[str]) -> dict[str, float]:
    """The configured weights of the models that are there, in proportion; equal ones where all of those are 0."""
    present: dict[str, float] = {name: share for name, share in weights.items() if name in generations}
    total = sum(present.values())
    return {name: present.get(name, 0.0) / total if total else 1 / len(generations) for name in generations}


def _exported(module: Ensemble, schema: SymbolSchema, generations: Sequence[str]) -> bytes:
    windows = torch.zeros(2, schema.window, len(schema.columns))
    weights = torch.full((len(generations),), 1 / len(generations), dtype=torch.float64)
    each = [f"{what}_{generation}" for generation in generations for what in ("raw_logits", "probabilities")]
    return export_module(
        module, {"windows": windows, "weights": weights}, ["probabilities", *each], unbatched=["weights"]
    )


# ---- what a file says of itself


def _identity(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    return {
        "generation": manifest.generation,
        "version": manifest.version,
        "manifest_sha256": bundle.sha256,
        "clamp": repr(manifest.calibration.clamp),
        "temperature": repr(manifest.calibration.temperature),
    }


def _reads(symbol: str, schema: SymbolSchema) -> dict[str, str]:
    return {
        "symbol": symbol,
        "columns": json.dumps(schema.columns),
        "classes": json.dumps(("DOWN", "NEUTRAL", "UP")),
        "window": str(schema.window),
        "interval_ms": str(schema.interval_ms),
    }


def _windows_doc(schema: SymbolSchema) -> str:
    shape = f"(batch, {schema.window}, {len(schema.columns)})"
    return f"{shape} raw features, the oldest bar first, in the order of the metadata's columns"


def _output_docs(manifest: Manifest) -> dict[str, str]:
    known = manifest.classes if manifest.knows_neutral else ("DOWN", "UP")
    return {
        "raw_logits": f"(batch, {len(known)}) {' '.join(known)}, before clamp and temperature",
        "probabilities": "(batch, 3) DOWN NEUTRAL UP",
    }


def _described(content: bytes, doc: str, docs: Mapping[str, str], metadata: Mapping[str, str]) -> bytes:
    """The file with its documentation, of each input and output, and its metadata."""
    model = onnx.load_from_string(content)
    model.doc_string = doc
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = docs[value.name]
    onnx.helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString(deterministic=True))
