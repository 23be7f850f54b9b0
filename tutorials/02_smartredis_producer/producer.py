"""A producer that knows SmartRedis, and has never heard of what learns from it.

usage: python producer.py NUMBER --patterns N --seed N
"""

import argparse

import numpy as np
from gray_scott import pairs
from smartredis import Client, Dataset

# Samples of one pattern, which go together as a dataset.
SAMPLES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate patterns and put them into the database.")
    parser.add_argument("number", type=int, help="which of the producers this is, from 0")
    parser.add_argument("--patterns", type=int, required=True, help="how many to simulate")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    client = Client()  # Finds the database by SSDB and SR_DB_TYPE, single or clustered.
    random = np.random.default_rng((options.seed, options.number))
    for iteration in range(options.patterns):
        samples, targets = map(np.stack, zip(*pairs(random, SAMPLES), strict=True))
        dataset = Dataset(f"pattern_{options.number}_{iteration}")
        dataset.add_tensor("now", samples)
        dataset.add_tensor("later", targets)
        client.put_dataset(dataset)
        client.append_to_list("patterns", dataset)
        print(f"pattern {iteration}: {len(samples)} samples")


if __name__ == "__main__":
    main()
