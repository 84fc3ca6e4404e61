"""The glue to TorchServe, with a context that does what TorchServe's does."""

import importlib.util
import inspect
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from stores import BTC, npy_bytes, raw_window, request_body, write_settings, write_store

from handlers import torchserve
from signalserve.errors import BundleError
from signalserve.log import LOGGER
from signalserve.service import Reply

HANDLERS = Path(torchserve.__file__).parent
FILES = ("v6_fixed", "v8", "ensemble")


class FakeContext:
    """headers: of each row, as TorchServe hands them on."""

    def __init__(self, model_dir: Path | str = "", gpu_id: int | None = None, headers: Any = ()) -> None:
        self.system_properties: Mapping[str, Any] = {"model_dir": str(model_dir), "gpu_id": gpu_id}
        self.headers = headers
        self.statuses: dict[int, tuple[int, str]] = {}
        self.content_types: dict[int, str] = {}

    def get_all_request_header(self, idx: int) -> Mapping[str, Any]:
        return self.headers[idx]

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = (code, phrase)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_types[idx] = value


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A settings file, no other variables, and logging afterwards as it was."""
    for name in ("ENGINE", "DEVICE", "PROBE_SECRET"):
        monkeypatch.delenv(f"SIGNALSERVE_{name}", raising=False)
    monkeypatch.setenv("SIGNALSERVE_SETTINGS", str(write_settings(tmp_path / "serving.yaml")))
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    root_level = logging.getLogger().level
    yield
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)
    logging.getLogger().setLevel(root_level)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("archive"), (BTC,))


def module_of(name: str) -> ModuleType:
    """A handler's file as TorchServe imports it: alone, under its own name."""
    spec = importlib.util.spec_from_file_location(name, HANDLERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def handler_of(name: str) -> Any:
    """The one class of a handler's file. TorchServe takes the first that it finds."""
    module = module_of(name)
    (found,) = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == name]
    return found()


@pytest.mark.parametrize("name", FILES)
def test_a_handlers_file_defines_exactly_one_class_and_no_function(name: str):
    handler_of(name)
    functions = [f for _, f in inspect.getmembers(module_of(name), inspect.isfunction) if f.__module__ == name]
    assert functions == []


@pytest.mark.parametrize("name", FILES)
def test_a_handler_answers_for_its_own_endpoint(archive: Path, name: str):
    handler, context = handler_of(name), FakeContext(archive, headers=[{"content-type": "application/json"}])
    handler.initialize(context)
    (body,) = handler.handle([{"body": json.dumps(request_body()).encode()}], context)
    assert json.loads(body)["variant"] == name
    assert context.statuses == {0: (200, "OK")}
    assert context.content_types == {0: "application/json"}


def test_every_row_has_its_own_status_and_body(archive: Path):
    json_header = {"Content-Type": "application/json"}
    headers = [json_header, json_header, {}, {"Content-Type": "application/x-npy", "X-Symbol": BTC}]
    rows = [
        {"body": bytearray(json.dumps(request_body(request_id="one")).encode())},
        {"body": b"{"},
        {},
        {"data": bytearray(npy_bytes(raw_window()))},
    ]
    handler, context = handler_of("ensemble"), FakeContext(archive, headers=headers)
    handler.initialize(context)
    bodies = [json.loads(body) for body in handler.handle(rows, context)]
    assert [context.statuses[i][0] for i in range(4)] == [200, 400, 400, 200]
    assert bodies[0]["request_id"] == "one"
    assert [bodies[i]["error"]["code"] for i in (1, 2)] == ["bad_json", "bad_content_type"]
    assert bodies[3]["symbol"] == BTC


def test_a_handler_that_cannot_answer_rightly_does_not_load_and_logs_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = write_store(tmp_path, (BTC,)) / "bundles" / "v8" / BTC / "1"
    (folder / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"weights\.safetensors: sha256"):
        handler_of("v8").initialize(FakeContext(tmp_path))
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["endpoint"], line["kind"]) == ("load_failed", "v8", "BundleError")
    assert "weights.safetensors: sha256" in line["reason"]


# ---- in between


def test_header_names_are_read_in_any_case():
    context = FakeContext(headers=[{"Content-TYPE": "application/json", "X-SYMBOL": BTC, "x-as-of": "t", "odd": 7}])
    (raw,) = torchserve.read_rows([{"body": b"{}"}], context)
    assert raw.headers == {"content-type": "application/json", "x-symbol": BTC, "x-as-of": "t"}
    assert raw.body == b"{}"


def test_a_row_without_a_body_is_a_request_without_one():
    (raw,) = torchserve.read_rows([{}], FakeContext(headers=[{}]))
    assert raw.body is None


@pytest.mark.parametrize(("status", "phrase"), [(200, "OK"), (422, "Refused"), (503, "Refused")])
def test_a_reply_sets_status_and_content_type(status: int, phrase: str):
    context = FakeContext()
    assert torchserve.write_replies([Reply(200, b"a"), Reply(status, b"b")], context) == [b"a", b"b"]
    assert context.statuses[1] == (status, phrase)
    assert context.content_types == {0: "application/json", 1: "application/json"}


@pytest.mark.parametrize(
    ("wanted", "gpu_id", "device"),
    [(None, None, "cpu"), (None, 0, "cuda:0"), (None, 3, "cuda:3"), ("auto", 1, "cuda:1"), ("cpu", 1, "cpu")],
)
def test_a_worker_takes_the_gpu_that_torchserve_gave_it(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, gpu_id: int | None, device: str
):
    if wanted is not None:
        monkeypatch.setenv("SIGNALSERVE_DEVICE", wanted)
    assert torchserve.device_of(FakeContext(gpu_id=gpu_id)) == device


def test_settings_engine_and_secret_come_from_the_environment(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIGNALSERVE_SETTINGS", str(write_settings(tmp_path / "other.yaml", "defaults: {mode: v8}")))
    monkeypatch.setenv("SIGNALSERVE_ENGINE", "onnxruntime")
    monkeypatch.setenv("SIGNALSERVE_PROBE_SECRET", "s3cret")
    handler = handler_of("ensemble")
    handler.initialize(FakeContext(archive))
    assert handler.service.models[BTC]["v8"].engine.name == "onnxruntime"
    assert handler.service._probe_secret == "s3cret"
    context = FakeContext(headers=[{"content-type": "application/json"}])
    assert json.loads(handler.handle([{"body": json.dumps(request_body()).encode()}], context)[0])["variant"] == "v8"


def test_no_line_of_torchserves_own_crosses_the_pipe_at_info(archive: Path):
    handler_of("v8").initialize(FakeContext(archive))
    assert not logging.getLogger("ts.service").isEnabledFor(logging.INFO)
    assert LOGGER.isEnabledFor(logging.INFO)
