"""`python -m smartml.monitor.grpc_server PATH PORT`: the record server, as programs of streamvis start it."""

import argparse
import signal
import threading

from smartml.monitor.service import RecordServer


def main() -> None:
    """Serve a store on loopback until the process is interrupted or terminated."""
    parser = argparse.ArgumentParser("python -m smartml.monitor.grpc_server", description=__doc__)
    parser.add_argument("path", help="folder or URL of the store")
    parser.add_argument("port", type=int, help="0 takes a free one")
    arguments = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: over.set())
    with RecordServer(arguments.path, arguments.port) as server:
        print(f"records are kept in {arguments.path} and served at {server.address}", flush=True)  # noqa: T201
        while not over.wait(0.1):
            pass


if __name__ == "__main__":
    main()
