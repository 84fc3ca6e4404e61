"""Memory of a server's processes: RSS, and PSS, which counts a page shared by n processes as 1/n in each."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from servers import Server

MB = 1e6


@dataclass(frozen=True)
class Memory:
    """One process. Only the PSS of several can be added up."""

    server: str
    role: str
    rss_mb: float
    pss_mb: float


def memory_of(server: Server) -> Sequence[Memory]:
    """Every process of a server, the largest first."""
    found = []
    for process in server.program.processes():
        try:
            used = process.memory_full_info()
            found.append(Memory(server.name, server.role(process), used.rss / MB, used.pss / MB))
        except psutil.NoSuchProcess:  # a probe of the launcher's, gone in the meantime
            continue
    return sorted(found, key=lambda memory: -memory.pss_mb)
