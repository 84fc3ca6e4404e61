"""Six ports side by side, and whether they are free."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from launch.ports import Ports
from signalserve.errors import PortTaken


def free_run() -> int:
    """The first of six ports in a row that nobody listens on."""
    for first in range(21_000, 32_000, 10):
        with ExitStack() as open_sockets:
            try:
                for port in range(first, first + 6):
                    open_sockets.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError("no six free ports in a row")


@pytest.fixture
def ports() -> Iterator[Ports]:
    yield Ports(free_run())


def test_ports_lie_side_by_side():
    ports = Ports(8080)
    six = [ports.inference, ports.management, ports.metrics, ports.watcher, ports.grpc_inference, ports.grpc_management]
    assert six == [8080, 8081, 8082, 8083, 8084, 8085]


def test_free_ports_are_free(ports: Ports):
    ports.require_free()


@pytest.mark.parametrize("offset", range(6))
def test_a_taken_port_is_named_with_a_way_out(ports: Ports, offset: int):
    taken = ports.inference + offset
    with socket.create_server(("127.0.0.1", taken)):
        words = rf"port {taken} on 127.0.0.1: Address already in use; .*PORT={ports.inference + 1000} make"
        with pytest.raises(PortTaken, match=words):
            ports.require_free()


def test_a_port_whose_last_connection_lingers_is_free(ports: Ports):
    server = socket.create_server(("127.0.0.1", ports.inference))
    client = socket.create_connection(("127.0.0.1", ports.inference))
    server.accept()[0].close()  # the side that closes first waits out TIME_WAIT
    client.close()
    server.close()
    ports.require_free()


@pytest.mark.parametrize("first", [65_531, 65_536, 99_999])
def test_ports_beyond_the_last_one_are_refused_in_words(first: int):
    with pytest.raises(PortTaken, match="port"):
        Ports(first).require_free()


def test_a_host_that_is_not_ours_is_named(ports: Ports):
    with pytest.raises(PortTaken, match=r"on 203\.0\.113\.1: Cannot assign requested address"):
        Ports(ports.inference, "203.0.113.1").require_free()


def test_what_can_stop_the_service_stays_on_loopback():
    properties = Ports(9000, "0.0.0.0").properties()
    assert properties["inference_address"] == "http://0.0.0.0:9000"
    assert properties["management_address"] == "http://127.0.0.1:9001"


def test_two_services_ten_apart_share_no_port():
    first, second = (set(Ports(port).properties().values()) for port in (9000, 9010))
    assert first.isdisjoint(second)
