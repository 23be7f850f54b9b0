"""How much a feed may hold: a number of samples, or of bytes."""

import re
from dataclasses import dataclass

from smartml.errors import ArgumentTypeError, ArgumentValueError

# As computers count: 1 kB is 1024 bytes.
_UNITS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Capacity:
    """An upper limit of what is held, in samples or in bytes of samples and targets; one of the two is given."""

    samples: int | None = None
    size: int | None = None

    def rows(self, row_size: int) -> int:
        """Return how many samples of so many bytes there is room for."""
        if self.samples is not None:
            return self.samples
        assert self.size is not None
        return self.size // max(1, row_size)

    def __str__(self) -> str:
        return f"{self.samples} samples" if self.samples is not None else f"{self.size} bytes"


def read_capacity(given: "int | str") -> Capacity:
    """Understand a capacity: a whole number of samples, or text with a unit of bytes ("512 MB", "2gb", "1.5 GB").

    Units are those of computers: kB, MB, GB and TB, each 1024 of the one before.
    """
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ArgumentTypeError(f'capacity must be a number of samples or text such as "2gb", not {given!r:.80}')
    if isinstance(given, int):
        if given < 1:
            raise ArgumentValueError(f"capacity must be at least 1 sample, not {given}")
        return Capacity(samples=given)
    found = _TEXT.fullmatch(given)
    unit = found and _UNITS.get(found[2].lower())
    if not found or not unit:
        raise ArgumentValueError(
            f"capacity {given!r} is no number of bytes: write a number and one of {', '.join(_UNITS)}, "
            'such as "512mb", or an int for a number of samples'
        )
    size = int(float(found[1]) * unit)
    if size < 1:
        raise ArgumentValueError(f"capacity {given!r} has no room for anything")
    return Capacity(size=size)
