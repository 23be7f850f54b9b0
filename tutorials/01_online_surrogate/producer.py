"""A producer: simulates one channel after another and puts what it sees into the store while it runs.

usage: python producer.py NUMBER --runs N --pairs N --seed N
"""

import argparse
from itertools import islice

from cases import pairs, training_channels

from smartml import Client


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate channels and put samples with their targets into the store.")
    parser.add_argument("number", type=int, help="which of the producers this is, from 0")
    parser.add_argument("--runs", type=int, required=True, help="how many channels to simulate")
    parser.add_argument("--pairs", type=int, required=True, help="how many samples to take of each")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    client = Client()  # The experiment has told this process where the database is.
    iteration = 0
    for channel in islice(training_channels(options.seed, options.number), options.runs):
        print(f"iteration {iteration}: {len(channel.obstacles)} bodies, viscosity {channel.viscosity:.4f}")
        for sample, target in islice(pairs(channel), options.pairs):
            # Axis 0 counts samples; here every iteration puts a single one.
            client.put_tensor(f"fields_{iteration}", sample[None])
            client.put_tensor(f"targets_{iteration}", target[None])
            iteration += 1


if __name__ == "__main__":
    main()
