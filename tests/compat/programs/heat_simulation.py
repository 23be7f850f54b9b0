"""Heat that spreads from random sources over a plate: a sample is where they are, its target the plate later on."""

import argparse

import numpy as np
from smartsim.ml import TrainingDataUploader


def plates(generator, count, size):
    """Return plates with three hot rectangles each: (count, 1, size, size), float32."""
    found = np.zeros((count, 1, size, size), dtype=np.float32)
    for plate in found:
        for y, x in generator.integers(1, size - 4, size=(3, 2)):
            plate[0, y : y + 3, x : x + 3] = 1
    return found


def spread(plate, steps=10, rate=0.2):
    """Return the plates after some explicit steps of the heat equation, with cold edges."""
    warm = plate.copy()
    for _ in range(steps):
        inner = warm[..., 1:-1, 1:-1]
        around = warm[..., :-2, 1:-1] + warm[..., 2:, 1:-1] + warm[..., 1:-1, :-2] + warm[..., 1:-1, 2:]
        warm[..., 1:-1, 1:-1] = inner + rate * (around - 4 * inner)
    return warm


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6, help="Iterations, each of which uploads a batch.")
    parser.add_argument("--samples", type=int, default=32, help="Plates of one iteration.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    generator = np.random.default_rng(options.seed)
    uploader = TrainingDataUploader("plates", cluster=False, verbose=True, num_classes=None)
    if uploader.batch_idx == 0:
        uploader.publish_info()
    for _ in range(options.steps):
        samples = plates(generator, options.samples, options.size)
        uploader.put_batch(samples, spread(samples))
    print("uploaded", uploader.batch_idx, uploader.list_name, uploader.sample_name, uploader.target_name)


if __name__ == "__main__":
    main()
