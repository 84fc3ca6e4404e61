"""What a bundle must answer, in plain float64: the judge of every number the service gives.

Shares no code with signalserve, on purpose: it reads manifest.json and weights.safetensors itself, and writes the
scaling, the LSTM, the clamp, the softmax and the pool out again from their formulas. A mistake there can't hide here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

Floats = np.ndarray


class ReferenceModel:
    """One bundle, by its folder <generation>/<symbol>/<version>/.

    >>> raw_logits, probabilities = ReferenceModel(folder).answer(windows)  # doctest: +SKIP
    """

    def __init__(self, folder: Path) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        loaded = safetensors.numpy.load_file(folder / "weights.safetensors")
        self.weights = {name: array.astype(np.float64) for name, array in loaded.items()}
        self.columns: list[str] = self.manifest["columns"]

    def answer(self, windows: Floats) -> tuple[Floats, Floats]:
        """windows: (n, window, features), raw, in the bundle's own column order.

        Returns raw logits (n, classes), before the clamp, and probabilities (n, classes); both float64.
        """
        scaler, calibration = self.manifest["scaler"], self.manifest["calibration"]
        scaled = (np.asarray(windows, dtype=np.float64) - np.array(scaler["mean"])) / np.array(scaler["scale"])
        raw_logits = self.logits(scaled)
        clamped = np.minimum(np.maximum(raw_logits, -calibration["clamp"]), calibration["clamp"])
        return raw_logits, softmax(clamped / calibration["temperature"])

    def logits(self, scaled: Floats) -> Floats:
        """scaled: (n, window, features), standardised -> (n, classes)."""
        steps = scaled
        for layer in range(self.manifest["architecture"]["layers"]):
            steps = self._lstm_layer(steps, layer)
        summary = steps[:, -1]
        if self.manifest["architecture"]["attention"]:
            scores = steps @ self.weights["score.weight"][0] + self.weights["score.bias"][0]  # (n, window)
            summary = np.einsum("nt,nth->nh", softmax(scores), steps)
        return summary @ self.weights["head.weight"].T + self.weights["head.bias"]

    def _lstm_layer(self, inputs: Floats, layer: int) -> Floats:
        """(n, window, inputs) -> every step's hidden state (n, window, hidden). Gates lie in the order i, f, g, o."""
        from_input, from_hidden = self.weights[f"lstm.weight_ih_l{layer}"], self.weights[f"lstm.weight_hh_l{layer}"]
        bias = self.weights[f"lstm.bias_ih_l{layer}"] + self.weights[f"lstm.bias_hh_l{layer}"]
        size = from_hidden.shape[1]
        hidden = np.zeros((len(inputs), size))
        cell = np.zeros_like(hidden)
        out = np.empty((*inputs.shape[:2], size))
        for step in range(inputs.shape[1]):
            gates = inputs[:, step] @ from_input.T + hidden @ from_hidden.T + bias  # (n, 4 hidden)
            take, keep, new, show = (gates[:, k * size : (k + 1) * size] for k in range(4))
            cell = sigmoid(keep) * cell + sigmoid(take) * np.tanh(new)
            hidden = sigmoid(show) * np.tanh(cell)
            out[:, step] = hidden
        return out


def pool(probabilities: Floats, weights: Floats, method: str, temperature: float) -> Floats:
    """probabilities: (models, n, classes), weights: (models,) -> the pooled forecast, tempered: (n, classes)."""
    pooled = np.zeros(probabilities.shape[1:]) if method == "linear" else np.ones(probabilities.shape[1:])
    for share, forecast in zip(weights, probabilities, strict=True):
        pooled = pooled + share * forecast if method == "linear" else pooled * forecast**share
    tempered = (pooled / pooled.max(axis=-1, keepdims=True)) ** (1 / temperature)
    return tempered / tempered.sum(axis=-1, keepdims=True)


def pool_of_answer(answer: Mapping[str, Any]) -> Floats:
    """What the pool of a response's own models gives, (classes,) in the order DOWN NEUTRAL UP."""
    names = ("DOWN", "NEUTRAL", "UP")
    parts = np.array([[[model["probabilities"][name] for name in names]] for model in answer["models"]])
    weights = np.array([model["weight"] for model in answer["models"]])
    return pool(parts, weights, answer["pool"]["method"], answer["pool"]["temperature"])[0]


def sigmoid(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(x / 2))  # the same function, without overflow


def softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
