"""Simulate, and send samples to whoever asks, over WebSocket.

usage: python server.py [--samples N] [--seed N] [--port P]
"""

import argparse
import threading

from simulation import samples

from smartml.streaming import Sample, serve


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=32_000, help="then the stream ends (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other samples (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    options = parser.parse_args()
    # Made when they are asked for.
    stream = (Sample(*sample) for sample in samples(options.samples, options.seed))
    with serve(stream, port=options.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
