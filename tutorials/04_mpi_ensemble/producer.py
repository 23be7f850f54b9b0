"""A producer: one rank of a parallel run of LAMMPS, which puts what it sees of its own atoms into the store.

usage: mpirun -n 2 python producer.py --looks N

For the picture, each rank leaves positions_<rank>.npy: where its atoms are.
"""

import argparse

import numpy as np
from atoms import begin, look
from mpi4py import MPI

from smartml import Client

# Atoms of one look, of each rank, and time steps between two.
ATOMS, STEPS = 32, 50


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate a liquid on all ranks, and put samples into the store.")
    parser.add_argument("--looks", type=int, required=True, help="how often to look at the liquid")
    options = parser.parse_args()

    rank = MPI.COMM_WORLD.rank
    liquid = begin("liquid.lmp", MPI.COMM_WORLD)
    # Until the crystal that it starts as has melted.
    liquid.command("run 500")
    np.save(f"positions_{rank}.npy", liquid.numpy.extract_atom("x", nelem=liquid.extract_setting("nlocal"), dim=3))
    client = Client()  # The experiment has told this process where the database is.
    random = np.random.default_rng(rank)
    for iteration in range(options.looks):
        # Every rank computes its part of the box; the next ones exchange atoms across their borders.
        liquid.command(f"run {STEPS}")
        samples, targets = look(liquid, random, ATOMS)
        client.put_tensor(f"neighbourhoods_{rank}_{iteration}", samples)
        client.put_tensor(f"energies_{rank}_{iteration}", targets)
    if rank == 0:
        print(f"{options.looks} looks at {liquid.get_natoms()} atoms on {MPI.COMM_WORLD.size} ranks")


if __name__ == "__main__":
    main()
