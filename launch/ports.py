"""Which ports the service takes, and whether they are free."""

import errno
import socket
from dataclasses import dataclass

from signalserve.errors import ConfigError, PortTaken


@dataclass(frozen=True)
class Ports:
    """All ports, side by side from one: two services run on one machine ten apart."""

    inference: int
    host: str = "127.0.0.1"

    @property
    def management(self) -> int:
        return self.inference + 1

    @property
    def metrics(self) -> int:
        return self.inference + 2

    @property
    def watcher(self) -> int:
        return self.inference + 3

    @property
    def grpc_inference(self) -> int:
        return self.inference + 4

    @property
    def grpc_management(self) -> int:
        return self.inference + 5

    @property
    def initial_worker(self) -> int:
        """Only a number in the names of the workers' unix sockets."""
        return self.inference + 10

    def url(self, port: int) -> str:
        return f"http://{self.host}:{port}"

    def reach(self, port: int) -> str:
        """Where a process of this machine connects to: the address we listen on, loopback where that is all of them."""
        everywhere = self.host == "0.0.0.0"  # noqa: S104  # compared with, not bound to
        return f"http://{'127.0.0.1' if everywhere else self.host}:{port}"

    def properties(self) -> dict[str, str]:
        """The lines of config.properties that these ports replace."""
        return {
            "inference_address": self.url(self.inference),
            # never beyond loopback: whoever reaches these can stop the service
            "management_address": f"http://127.0.0.1:{self.management}",
            "metrics_address": self.url(self.metrics),
            "grpc_inference_port": str(self.grpc_inference),
            "grpc_management_port": str(self.grpc_management),
            "initial_worker_port": str(self.initial_worker),
        }

    def require_free(self) -> None:
        """Raises PortTaken that names the first port somebody else listens on."""
        addresses = [(self.host, port) for port in (self.inference, self.metrics, self.watcher)]
        addresses += [("127.0.0.1", port) for port in (self.management, self.grpc_inference, self.grpc_management)]
        for host, port in sorted(addresses, key=lambda address: address[1]):
            with socket.socket() as probe:
                # as servers do it: a port whose last connections linger in TIME_WAIT is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except (OSError, OverflowError) as error:
                    raise PortTaken(f"port {port} on {host}: {_why(error, self.inference)}") from None


def parse_port(text: str) -> int:
    """PORT, the first of six in a row. Raises ConfigError for what is no port, or one that only root may take."""
    if not text.isdecimal() or not 1024 <= int(text) <= 65530:
        raise ConfigError(f"PORT: expected a number from 1024 to 65530 (six ports in a row are taken), got {text!r}")
    return int(text)


def _why(error: Exception, port: int) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        other = port + 1000 if port < 60_000 else 8080
        return (
            f"{error.strerror}; stop what listens there, or choose six other ports in a row, such as "
            f"PORT={other} make serve"
        )
    return f"{getattr(error, 'strerror', None) or error}; choose an IPv4 address of this machine with --host"
