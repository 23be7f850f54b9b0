"""`python -m smartml.monitor.grpc_server PATH PORT`: the record server, as programs of streamvis start it."""

import argparse
import signal
import sys
import threading

from smartml.monitor.service import RecordServer


def main() -> None:
    """Serve a store on loopback until the process is interrupted or terminated, or its starter has gone."""
    parser = argparse.ArgumentParser("python -m smartml.monitor.grpc_server", description=__doc__)
    parser.add_argument("path", help="folder or URL of the store")
    parser.add_argument("port", type=int, help="0 takes a free one")
    parser.add_argument("--while-stdin-is-open", action="store_true", help="end with the process that started this")
    arguments = parser.parse_args()
    over = threading.Event()
    if arguments.while_stdin_is_open:
        threading.Thread(target=_wait_for_the_end_of_input, args=(over,), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: over.set())
    with RecordServer(arguments.path, arguments.port) as server:
        print(f"records are kept in {arguments.path} and served at {server.address}", flush=True)  # noqa: T201
        while not over.wait(0.1):
            pass


def _wait_for_the_end_of_input(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()


if __name__ == "__main__":
    main()
