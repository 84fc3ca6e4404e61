"""What runs a bundle: torch or ONNX Runtime, on the CPU or on a GPU, behind one interface.

An engine checks that what goes in and what comes out is finite: ONNX Runtime's LSTM turns a NaN into plausible
numbers. Every engine runs `pipeline.CalibratedModel`, as it is or exported.
"""

import abc
import importlib.util
import os
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from signalserve.bundle import Bundle
from signalserve.environment import TELEMETRY_VARIABLE
from signalserve.errors import BundleError, EngineError, ModelOutputNotFinite

Windows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Output:
    """raw_logits: (batch, classes that the network knows).  probabilities: (batch, classes).  Both float64."""

    raw_logits: Floats
    probabilities: Floats

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        """(batch,), False where a row is no answer."""
        return np.asarray(np.isfinite(self.raw_logits).all(axis=1) & np.isfinite(self.probabilities).all(axis=1))


class Engine(abc.ABC):
    """Runs one bundle. `name` and `device` say what was really taken, not what was asked for."""

    name: ClassVar[str]
    device: str

    def predict(self, windows: Windows) -> Output:
        """windows: (batch, window, features), raw, finite. Raises ValueError on a non-finite window (the caller's
        bug: requests are checked before), ModelOutputNotFinite when the model itself gives NaN or infinity."""
        output = self.predict_rows(windows)
        if not output.finite.all():
            raise not_finite()
        return output

    def predict_rows(self, windows: Windows) -> Output:
        """As predict, but a row that is not finite is only marked in `Output.finite`: its neighbours are answers."""
        if not np.isfinite(windows).all():
            raise ValueError(
                "engine: expected finite windows, got NaN or infinity; check requests before they get here"
            )
        return self._run(windows)

    @abc.abstractmethod
    def _run(self, windows: Windows) -> Output: ...


class TorchEngine(Engine):
    name = "torch"

    def __init__(self, bundle: Bundle, device: str) -> None:
        """device: 'cpu' or 'cuda:N'. Raises EngineError where torch sees no such GPU."""
        import torch

        if device != "cpu" and not torch.cuda.is_available():
            raise EngineError(f"device {device}: torch sees no GPU here; install the gpu extra, or choose --device cpu")
        # one thread: with torch's default on two cores this LSTM's p99 was 960 ms instead of 0.5 ms
        torch.set_num_threads(1)
        # tf32 keeps 10 bits of the mantissa: three digits, and the contract promises five
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.device = device
        self._torch = torch
        self._model = calibrated_model(bundle).to(device)

    def _run(self, windows: Windows) -> Output:
        with self._torch.inference_mode():
            raw_logits, probabilities = self._model(
                self._torch.from_numpy(np.require(windows, requirements="W")).to(self.device)
            )
            return Output(raw_logits.cpu().numpy(), probabilities.cpu().numpy())


class OnnxEngine(Engine):
    name = "onnxruntime"

    def __init__(self, model: Path | bytes, device: str) -> None:
        """model: an exported file or its bytes. Raises EngineError where ONNX Runtime did not take the device."""
        os.environ.setdefault(TELEMETRY_VARIABLE, "1")
        import onnxruntime

        if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN from the wheels that torch depends on
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: its warnings about CUDA go to stderr unasked
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=_providers(device)
        )
        taken = session.get_providers()[0]
        # ONNX Runtime falls back to the CPU in silence
        if device != "cpu" and taken != "CUDAExecutionProvider":
            raise EngineError(
                f"device {device}: ONNX Runtime took {taken} instead of CUDAExecutionProvider; "
                "install the gpu extra (onnxruntime-gpu alone, not beside onnxruntime), or choose --device cpu"
            )
        self.device = device
        self._session = session

    def _run(self, windows: Windows) -> Output:
        raw_logits, probabilities = self._session.run(["raw_logits", "probabilities"], {"windows": windows})
        return Output(raw_logits, probabilities)


def check_device(device: str) -> None:
    """Raises EngineError for a device that is no device, or a GPU that is not here. Asks torch only about GPUs."""
    if not re.fullmatch(r"auto|cpu|cuda:\d+", device):
        raise EngineError(f"--device: expected auto, cpu or cuda:N, got {device!r}")
    if device.startswith("cuda:"):
        import torch

        if int(device.removeprefix("cuda:")) >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise EngineError(f"--device {device}: torch sees {found} GPUs here; install the gpu extra, or choose cpu")


def not_finite() -> ModelOutputNotFinite:
    return ModelOutputNotFinite("model", expected="finite logits", got="NaN or infinity from the network")


def create_engine(bundle: Bundle, *, engine: str, device: str, onnx: Path | None = None) -> Engine:
    """The engine for a bundle.

    engine: 'auto' takes ONNX Runtime where an exported file is at hand and it can use the device (2 × faster than torch
    on a CPU core at batch 1, see bench/), else torch.  device: 'cpu', 'cuda:N' or 'auto' (the first GPU where torch
    sees one).  onnx: the exported file, if there is one; without it 'onnxruntime' exports the bundle first.
    Raises EngineError where that engine or device is not available.
    """
    device = _first_device() if device == "auto" else device
    if engine == "torch":
        return TorchEngine(bundle, device)
    if engine == "onnxruntime":
        return OnnxEngine(onnx if onnx is not None else onnx_bytes(bundle), device)
    if engine != "auto":
        raise EngineError(f"engine: expected auto, torch or onnxruntime, got {engine!r}")
    if onnx is None or importlib.util.find_spec("onnxruntime") is None:
        return TorchEngine(bundle, device)
    try:
        return OnnxEngine(onnx, device)
    except EngineError:
        return TorchEngine(bundle, device)  # a GPU for which ONNX Runtime lacks its libraries; torch brings its own


def calibrated_model(bundle: Bundle) -> Any:
    """The bundle's CalibratedModel, in evaluation mode, float32. Raises BundleError where the weights don't fit."""
    import torch

    from signalserve.network import build_network
    from signalserve.pipeline import CalibratedModel, Calibration, Scaler

    manifest = bundle.manifest
    network = build_network(manifest.architecture)
    try:
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{bundle.path}: the weights do not fit the manifest's architecture: {reason}") from None
    scaler = Scaler(np.asarray(manifest.scaler.mean), np.asarray(manifest.scaler.scale))
    calibration = Calibration(manifest.calibration.clamp, manifest.calibration.temperature)
    return CalibratedModel(network, scaler, calibration).eval()


def onnx_bytes(bundle: Bundle) -> bytes:
    """The bundle's CalibratedModel as an ONNX file: windows (batch, window, features) -> raw_logits, probabilities."""
    import torch

    example = torch.zeros(2, bundle.manifest.window, len(bundle.manifest.columns))
    return export_module(calibrated_model(bundle), {"windows": example}, ["raw_logits", "probabilities"])


def export_module(
    module: Any, inputs: Mapping[str, Any], outputs: Sequence[str], unbatched: Collection[str] = ()
) -> bytes:
    """A torch module as an ONNX file with these names, of any batch size.

    inputs: name -> an example tensor, in the order of `forward`.  unbatched: inputs whose first axis is no batch.
    """
    import io

    import torch

    file = io.BytesIO()
    batched = [name for name in (*inputs, *outputs) if name not in unbatched]
    with warnings.catch_warnings():
        # the TorchScript exporter is deprecated and used on purpose: it gives the same ONNX LSTM node in 0.3 s where
        # the newer one takes 8 s; torch is pinned, and the result is compared with the golden window on every load
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            file,  # type: ignore[arg-type]  # a buffer is documented and works
            dynamo=False,
            opset_version=17,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in batched},
        )
    return file.getvalue()


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0), "use_tf32": "0"})]


def _first_device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"
