"""A simulator that serves what it simulates over WebSocket, to any client of EIR's protocol.

usage: python simulator.py --port N --seconds S --seed N
"""

import argparse

from heart import patients

from smartml.streaming import serve

PER_SECOND = 800


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate hearts, and serve their rates as they come.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="how long to simulate")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    with serve(patients(options.seed, PER_SECOND, options.seconds), port=options.port) as server:
        print(f"serving at {server.url}")
        # Clients may come late, and ask again after the end.
        while not server.wait(0.5):
            status = server.status()
            if status["has_ended"] and not status["active_connections"]:
                break
    server.check()


if __name__ == "__main__":
    main()
