"""Starts an application under uvicorn with several workers, as `uvicorn --workers` does, and mends one thing.

    python bench/peer_uvicorn.py peer_fastapi:app --port 9000 --workers 2

`uvicorn --workers` opens its port with Nagle's algorithm on, and without uvloop it stays on: the body of each answer
then waits until the client has acknowledged the head, 40 ms at one connection. A comparison with that would be one with
a misconfiguration.
"""

import argparse
import socket

import uvicorn
from uvicorn.supervisors import Multiprocess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("app", help="module:name")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    config = uvicorn.Config(args.app, port=args.port, workers=args.workers, log_level="warning", access_log=False)
    listening = config.bind_socket()
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits this
    Multiprocess(config, sockets=[listening]).run()


if __name__ == "__main__":
    main()
