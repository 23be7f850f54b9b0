"""Two-dimensional channel flow past obstacles by the lattice Boltzmann method, in NumPy.

Nine populations per cell (D2Q9) move along their velocities and collide. The collision is the regularised one, stable
at the low viscosities where vortices shed: it keeps density, velocity and viscous stress, and forgets the rest. Solid
cells send back what reaches them (bounce-back), so that a wall stands half a cell in front of them.

    method, units, walls:   Krueger et al., The Lattice Boltzmann Method, Springer 2017, chapters 3 to 5
    collision:              Latt and Chopard, Mathematics and Computers in Simulation 72 (2006) 165
    open ends:              Latt, Chopard, Malaspinas, Deville, Michler, Physical Review E 77 (2008) 056703
    the flow of the tests:  Schaefer and Turek, Notes on Numerical Fluid Mechanics 52 (1996) 547

Units are those of the lattice: a cell is 1 wide, a step lasts 1, the density is about 1.
"""

from dataclasses import dataclass

import numpy as np

# The nine velocities: rest, then four pairs of opposites; the weights are those of rest, axes and diagonals.
CX = (0, 1, -1, 0, 0, 1, -1, 1, -1)
CY = (0, 0, 0, 1, -1, 1, -1, -1, 1)
WEIGHTS = (4 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 36, 1 / 36, 1 / 36, 1 / 36)
OPPOSITE = (0, 2, 1, 4, 3, 6, 5, 8, 7)


@dataclass(frozen=True)
class Obstacle:
    """A solid body: a superellipse |x/a|^p + |y/b|^p < 1, turned by an angle. Lengths in cells.

    The exponent gives the shape: 1 a rhombus, 2 an ellipse, 8 nearly a rectangle.
    """

    x: float
    y: float
    half_length: float
    half_width: float
    exponent: float = 2.0
    angle: float = 0.0

    def covers(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return which of the points lie inside."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along = ((x - self.x) * cos + (y - self.y) * sin) / self.half_length
        across = ((y - self.y) * cos - (x - self.x) * sin) / self.half_width
        return np.abs(along) ** self.exponent + np.abs(across) ** self.exponent < 1


@dataclass(frozen=True)
class Channel:
    """A channel between two walls, the bodies in it, and the speed and viscosity of the fluid."""

    obstacles: tuple[Obstacle, ...] = ()
    # Cells along and across the flow; the first and the last row are the walls.
    length: int = 192
    width: int = 64
    # Largest speed of the parabolic inflow. The method is for speeds well below that of sound, 0.577.
    inflow_speed: float = 0.1
    viscosity: float = 0.01

    def solid(self) -> np.ndarray:
        """Return the solid cells, walls included: (width, length), bool."""
        y, x = np.mgrid[: self.width, : self.length]
        solid = (y == 0) | (y == self.width - 1)
        for obstacle in self.obstacles:
            solid |= obstacle.covers(x, y)
        return solid

    def inflow(self) -> np.ndarray:
        """Return the speed that enters in each row: a parabola, zero at the walls. (width,), float32."""
        gap = self.width - 2
        y = np.arange(self.width) - 0.5
        return np.clip(4 * self.inflow_speed * y * (gap - y) / gap**2, 0, None).astype(np.float32)


class Simulation:
    """The flow in a channel, from the moment when the bodies appear in it.

    `density` is (width, length), `velocity` is (2, width, length): along x, then along y; both float32.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.solid = channel.solid()
        self.inflow = channel.inflow()
        self.time = 0
        shape = self.solid.shape
        self.density = np.ones(shape, np.float32)
        self.velocity = np.zeros((2, *shape), np.float32)
        self.velocity[0] = np.where(self.solid, 0, self.inflow[:, None])
        # The part of the momentum flux (xx, yy, xy) that viscosity makes, and how much of it a collision leaves.
        self._stress = np.zeros((3, *shape), np.float32)
        self._kept = 1 - 1 / (3 * channel.viscosity + 0.5)
        # Populations on their way out of each cell and into it.
        self._leaving = np.empty((9, *shape), np.float32)
        self._arriving = np.empty((9, *shape), np.float32)
        self._arriving[:] = np.reshape(WEIGHTS, (9, 1, 1))
        self._solid_cells = np.flatnonzero(self.solid)
        # Room for results on the way: to allocate it in every step takes longer than to compute.
        self._momentum = np.empty_like(self.velocity)
        self._flux = np.empty_like(self._stress)
        self._sums, self._differences = np.empty((2, 4, *shape), np.float32)

    def step(self, count: int = 1) -> None:
        """Advance by so many steps."""
        for _ in range(count):
            self._collide()
            self._stream()
            self._measure()
            self._open_ends()
        self.time += count

    def _collide(self) -> None:
        """Relax the stress, then send out the populations that have these moments (Latt and Chopard 2006)."""
        ux, uy = self.velocity
        jx, jy = np.multiply(self.density, self.velocity, out=self._momentum)
        xx, yy, xy = np.multiply(self._stress, self._kept, out=self._flux)
        xx += jx * ux
        yy += jy * uy
        xy += jx * uy
        trace = xx + yy
        rest = self.density - 1.5 * trace
        np.multiply(rest, WEIGHTS[0], out=self._leaving[0])
        self._send(1, rest, jx, xx)
        self._send(3, rest, jy, yy)
        xy *= 2
        self._send(5, rest, jx + jy, trace + xy)
        self._send(7, rest, jx - jy, trace - xy)
        # Solid cells give back what reached them.
        arriving, leaving = self._arriving.reshape(9, -1), self._leaving.reshape(9, -1)
        leaving[:, self._solid_cells] = arriving[:, self._solid_cells][OPPOSITE, :]

    def _send(self, i: int, rest: np.ndarray, momentum: np.ndarray, flux: np.ndarray) -> None:
        """Fill populations i and i + 1, which move in opposite directions, from the moments along their line."""
        weight = WEIGHTS[i]
        even = (4.5 * weight) * flux
        even += weight * rest
        odd = (3 * weight) * momentum
        np.add(even, odd, out=self._leaving[i])
        np.subtract(even, odd, out=self._leaving[i + 1])

    def _stream(self) -> None:
        """Let every population travel to the next cell; what the ends would need from outside is never used."""
        for i in range(9):
            to_x, from_x = _shifted(CX[i])
            to_y, from_y = _shifted(CY[i])
            self._arriving[i, to_y, to_x] = self._leaving[i, from_y, from_x]

    def _measure(self) -> None:
        """Take density, velocity and stress from the populations."""
        one, other = self._arriving[1::2], self._arriving[2::2]
        along_x, along_y, rising, falling = np.add(one, other, out=self._sums)
        xx, yy, xy = self._stress
        np.subtract(rising, falling, out=xy)
        diagonals = np.add(rising, falling, out=rising)
        np.add(along_x, diagonals, out=xx)
        np.add(along_y, diagonals, out=yy)
        np.add(self._arriving[0], along_x, out=self.density)
        self.density += yy

        along_x, along_y, rising, falling = np.subtract(one, other, out=self._differences)
        ux, uy = self.velocity
        np.divide(along_x + rising + falling, self.density, out=ux)
        np.divide(along_y + rising - falling, self.density, out=uy)
        self.velocity.reshape(2, -1)[:, self._solid_cells] = 0

        jx, jy = np.multiply(self.density, self.velocity, out=self._momentum)
        pressure = self.density / 3
        xx -= jx * ux + pressure
        yy -= jy * uy + pressure
        xy -= jx * uy

    def _open_ends(self) -> None:
        """Set the velocity where the fluid enters, the density where it leaves; take the rest from the cells beside."""
        self.velocity[0, :, 0], self.velocity[1, :, 0] = self.inflow, 0
        self.density[:, 0] = self.density[:, 1]
        self._stress[:, :, 0] = self._stress[:, :, 1]
        self.velocity[:, :, -1] = self.velocity[:, :, -2]
        self.density[:, -1] = 1
        self._stress[:, :, -1] = self._stress[:, :, -2]


def _shifted(by: int) -> tuple[slice, slice]:
    """Return the slices to copy to and from, so that all moves by -1, 0 or 1 cells."""
    if by == 0:
        return slice(None), slice(None)
    return (slice(1, None), slice(None, -1)) if by > 0 else (slice(None, -1), slice(1, None))
