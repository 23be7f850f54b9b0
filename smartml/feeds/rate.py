"""How often a sample may be used, and how far producers may run ahead (pure).

After the rate limiter SampleToInsertRatio of Reverb (Cassirer et al. 2021, "Reverb: A Framework For Experience Replay",
arXiv:2102.04736, its section on rate limiting): samples_per_insert, min_size_to_sample, and error_buffer, which is
`tolerance` here.
Unlike there, it is asked whether the corridor is left already, not whether the next step would leave it: what comes in
and goes out in batches of any size can then never stop both sides at once.
"""

from dataclasses import dataclass

from smartml.errors import ArgumentTypeError, ArgumentValueError


@dataclass(frozen=True)
class RateLimit:
    """Each sample is used `samples_per_insert` times on average, give or take `tolerance` uses in all.

    Trainers wait when they have used samples more often, producers when trainers have used them less often, the first
    `min_size_to_sample` samples not counted: these are needed to begin (a trainer makes known that it needs a batch).
    The tolerance is a number of uses; None: as many as the samples needed to begin bring.
    """

    samples_per_insert: float
    tolerance: float | None = None
    min_size_to_sample: int = 1

    def __post_init__(self) -> None:
        for name in ("samples_per_insert", "tolerance", "min_size_to_sample"):
            value = getattr(self, name)
            if value is None and name == "tolerance":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ArgumentTypeError(f"{name} must be a number, not {type(value).__name__}: {value!r:.80}")
            if not 0 <= value < float("inf") or (value == 0 and name == "samples_per_insert"):
                raise ArgumentValueError(f"{name} must be a positive number, not {value}")

    @classmethod
    def of(cls, limit: "RateLimit | float") -> "RateLimit":
        """Return a limit that is given as such, or as samples per insert alone."""
        return limit if isinstance(limit, RateLimit) else cls(limit)

    def allowance(self, needed: int) -> float:
        """Uses by which either side may be off, where a trainer needs so many samples to begin."""
        if self.tolerance is not None:
            return self.tolerance
        return self.samples_per_insert * max(needed, self.min_size_to_sample)

    def may_use(self, used: int, arrived: int, needed: int) -> bool:
        """Tell whether a trainer that has used so many of the samples that arrived may go on."""
        return used - self.samples_per_insert * arrived <= self.allowance(needed)

    def may_put(self, put: int, used: int, needed: int) -> bool:
        """Tell whether a producer may go on, when so many samples were put and used."""
        ahead = put - max(needed, self.min_size_to_sample)
        return self.samples_per_insert * ahead - used <= self.allowance(needed)
