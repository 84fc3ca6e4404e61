"""Golden probes against a real service in process, and against one that goes wrong in every way."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from stores import BTC, ETH, write_model, write_settings, write_store

from signalserve.bundle import find_bundles, load_bundle
from signalserve.environment import PROBE_HEADER
from signalserve.service import ENDPOINTS, RawRequest, Service
from signalserve.watcher.probes import Prober, make_probes

SECRET = "s3cret"
Handler = Callable[[httpx.Request], httpx.Response]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def serving(root: Path, settings: object = "") -> Handler:
    """What TorchServe would do: each endpoint's service behind its path."""
    path = write_settings(root / "serving.yaml", settings)  # type: ignore[arg-type]
    services = {
        endpoint: Service.load(root, endpoint, settings_path=path, engine="torch", device="cpu", probe_secret=SECRET)
        for endpoint in ENDPOINTS
    }

    def answer(request: httpx.Request) -> httpx.Response:
        service = services[request.url.path.removeprefix("/predictions/")]
        (reply,) = service.answer([RawRequest(request.content, dict(request.headers))])
        return httpx.Response(reply.status, content=reply.body)

    return answer


class Watch:
    """A prober of one store, whose service may be changed and whose clock moves when told."""

    def __init__(self, root: Path, handler: Handler) -> None:
        self.handler = handler
        self.clock = Clock()
        manifests = [load_bundle(folder).manifest for folder in find_bundles(root / "bundles")]
        transport = httpx.MockTransport(lambda request: self.handler(request))
        self.prober = Prober(list(make_probes(manifests)), "http://service", SECRET, self.clock, transport)

    def ask_all(self) -> dict[str, str]:
        """One round of all probes; returns what is not ready then."""

        async def ask() -> None:
            headers = {"content-type": "application/json", PROBE_HEADER: SECRET}
            transport = httpx.MockTransport(lambda request: self.handler(request))
            async with httpx.AsyncClient(base_url="http://service", headers=headers, transport=transport) as client:
                for probe in self.prober.probes:
                    await self.prober.ask(probe, client)

        asyncio.run(ask())
        return self.prober.not_ready()

    def changing(self, change: Callable[[dict[str, Any]], object]) -> Handler:
        """The handler so far, with its answers to the ensemble changed."""
        right = self.handler

        def answer(request: httpx.Request) -> httpx.Response:
            response = right(request)
            if not request.url.path.endswith("ensemble"):
                return response
            content = response.json()
            change(content)
            return httpx.Response(response.status_code, json=content)

        return answer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"), (BTC,))


@pytest.fixture
def watch(store: Path) -> Watch:
    return Watch(store, serving(store))


NAMES = {"v6_fixed BTC-USD", "v8 BTC-USD", "ensemble BTC-USD (v6_fixed)", "ensemble BTC-USD (v8)"}
ENSEMBLE = {name for name in NAMES if name.startswith("ensemble")}


def test_each_endpoint_and_model_has_its_probe(watch: Watch):
    assert {probe.name for probe in watch.prober.probes} == NAMES


def test_before_the_first_answer_nothing_is_ready(watch: Watch):
    assert watch.prober.not_ready() == dict.fromkeys(NAMES, "no answer yet")


def test_right_answers_make_ready(watch: Watch):
    assert watch.ask_all() == {}


def test_a_probe_carries_the_secret_as_json(watch: Watch):
    seen: list[httpx.Request] = []
    right = watch.handler
    watch.handler = lambda request: (seen.append(request), right(request))[1]
    asyncio.run(asyncio.wait_for(swallow_timeout(watch.prober), 5))
    assert {request.url.path for request in seen} == {f"/predictions/{endpoint}" for endpoint in ENDPOINTS}
    assert {request.headers[PROBE_HEADER] for request in seen} == {SECRET}
    assert {request.headers["content-type"] for request in seen} == {"application/json"}


async def swallow_timeout(prober: Prober) -> None:
    """Run the prober until all of its probes were answered once."""
    task = asyncio.create_task(prober.run())
    while any(standing.at is None for standing in prober.standings.values()):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


def test_running_it_asks_every_probe(watch: Watch):
    asyncio.run(asyncio.wait_for(swallow_timeout(watch.prober), 5))
    assert watch.prober.not_ready() == {}


# ---- answers that are wrong


def test_wrong_numbers_are_told_with_what_was_expected(watch: Watch):
    watch.handler = watch.changing(lambda answer: answer["models"][1]["probabilities"].update(UP=0.9))
    faults = watch.ask_all()
    assert "golden window: expected probabilities [" in faults["ensemble BTC-USD (v8)"]
    assert faults.keys() == ENSEMBLE  # the pool of wrong parts is wrong as well


def test_wrong_logits_are_told(watch: Watch):
    watch.handler = watch.changing(lambda answer: answer["models"][0].update(raw_logits=[9.0, 9.0, 9.0]))
    assert "expected raw logits" in watch.ask_all()["ensemble BTC-USD (v6_fixed)"]


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.update(probabilities={"DOWN": 1.0, "NEUTRAL": 0.0, "UP": 0.0}),
        lambda answer: answer["pool"].update(temperature=2.0),
        lambda answer: answer["models"][0].update(weight=0.9),
        lambda answer: answer["probabilities"].update(UP=answer["probabilities"]["UP"] + 1e-6),
    ],
)
def test_a_wrong_pool_is_told_though_its_models_are_right(watch: Watch, change: Callable[[dict[str, Any]], object]):
    watch.handler = watch.changing(change)
    faults = watch.ask_all()
    assert faults.keys() == ENSEMBLE
    assert all(fault.startswith("pool: expected [") for fault in faults.values())


def test_a_missing_model_is_told(watch: Watch):
    watch.handler = watch.changing(lambda answer: answer["models"].pop())
    assert watch.ask_all()["ensemble BTC-USD (v8)"] == "an answer that is not the contract's: KeyError('v8')"


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_http_error_is_told_by_its_status_and_text(watch: Watch, status: int):
    watch.handler = lambda request: httpx.Response(status, text="Worker died." * 100)
    assert set(watch.ask_all()) == NAMES
    assert watch.prober.not_ready()["v8 BTC-USD"].startswith(f"HTTP {status}: Worker died.")
    assert len(watch.prober.not_ready()["v8 BTC-USD"]) < 350


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ConnectError, httpx.RemoteProtocolError])
def test_no_answer_is_told_by_its_kind(watch: Watch, error: type[httpx.HTTPError]):
    def refuse(request: httpx.Request) -> httpx.Response:
        raise error("no")

    watch.handler = refuse
    assert watch.ask_all() == dict.fromkeys(NAMES, f"no answer: {error.__name__}")


HUGE = 10**400  # json.loads takes it, and float() does not


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<html>",
        "[]",
        "null",
        "7",
        "{}",
        '{"models": null}',
        '{"models": [7]}',
        '{"models": [{"generation": "v8", "raw_logits": "x", "probabilities": {"DOWN": 1, "NEUTRAL": 0, "UP": 0}}]}',
        '{"models": [{"generation": "v8", "raw_logits": [1], "probabilities": null}]}',
        '{"models": [{"generation": "v8", "raw_logits": [[1, 2], 3], "probabilities": []}]}',
        f'{{"models": [{{"generation": "v8", "raw_logits": [{HUGE}, 0, 0], "probabilities": '
        f'{{"DOWN": {HUGE}, "NEUTRAL": 0, "UP": 0}}}}]}}',
    ],
)
def test_an_answer_that_is_none_is_told_and_probing_goes_on(watch: Watch, content: str):
    watch.handler = lambda request: httpx.Response(200, text=content)
    faults = watch.ask_all()
    assert set(faults) == NAMES
    assert faults["v8 BTC-USD"].startswith(("an answer that is not", "golden window"))


# ---- for how long an answer holds


@pytest.mark.parametrize(("later", "is_ready"), [(4.9, True), (5.0, True), (5.1, False)])
def test_a_right_answer_holds_for_five_seconds(watch: Watch, later: float, is_ready: bool):
    watch.ask_all()
    watch.clock.now += later
    assert watch.prober.not_ready() == ({} if is_ready else dict.fromkeys(NAMES, "no right answer for 5 s"))


def test_one_time_out_is_forgiven_within_five_seconds(watch: Watch):
    watch.ask_all()

    def time_out(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("no")

    watch.handler = time_out
    watch.clock.now += 3
    assert watch.ask_all() == {}
    watch.clock.now += 2.1
    assert watch.prober.not_ready() == dict.fromkeys(NAMES, "no answer: ReadTimeout")


def test_a_wrong_answer_counts_at_once(watch: Watch):
    watch.ask_all()
    right = watch.handler
    watch.handler = watch.changing(lambda answer: answer["models"][1]["probabilities"].update(UP=0.9))
    assert watch.ask_all().keys() == ENSEMBLE
    watch.handler = right
    assert watch.ask_all() == {}


def test_the_time_of_an_answer_is_kept(watch: Watch):
    right = watch.handler

    def slow(request: httpx.Request) -> httpx.Response:
        watch.clock.now += 0.25
        return right(request)

    watch.handler = slow
    watch.ask_all()
    assert watch.prober.standings["v8 BTC-USD"].seconds == 0.25


# ---- settings and stores that are right, and must be ready


@pytest.mark.parametrize(
    "settings",
    [
        {"defaults": {"mode": "v6_fixed"}},
        {"defaults": {"pool": {"method": "log", "temperature": 1.7}, "weights": {"v6_fixed": 0.1, "v8": 0.9}}},
        {"defaults": {"weights": {"v6_fixed": 1.0, "v8": 0.0}}},
        {"defaults": {"weights": {"v8": 1.0}}},
        {
            "defaults": {"mode": "ab"},
            "experiment": {"name": "n", "split": {"v8": 0.5, "v6_fixed": 0.5}, "control": "v8", "salt": "s"},
        },
    ],
)
def test_whatever_the_toggles_say_a_right_service_is_ready(store: Path, settings: dict[str, Any]):
    assert Watch(store, serving(store, settings)).ask_all() == {}


def test_models_of_one_symbol_that_read_different_columns_are_probed(tmp_path: Path):
    write_model(tmp_path, "v6_fixed", columns=("ema_10", "rsi_14"))
    write_model(tmp_path, "v8", columns=("returns", "ema_10"), mean=[0.0, 1e6], scale=[1.0, 2.0])
    assert Watch(tmp_path, serving(tmp_path)).ask_all() == {}


def test_a_symbol_of_one_generation_is_probed_by_it(tmp_path: Path):
    write_model(write_store(tmp_path, (BTC,)), "v6_fixed", ETH)
    watch = Watch(tmp_path, serving(tmp_path, {"symbols": {ETH: {"mode": "v6_fixed"}}}))
    assert watch.ask_all() == {}
    assert {probe.name for probe in watch.prober.probes} - NAMES == {"v6_fixed ETH-USD", "ensemble ETH-USD (v6_fixed)"}


def test_probes_leave_no_trace_in_what_is_counted(watch: Watch, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", "signalserve"):
        for _ in range(6):
            watch.ask_all()
    assert [record.getMessage() for record in caplog.records] == []
    assert json.loads(watch.prober.probes[0].body)["symbol"] == BTC
