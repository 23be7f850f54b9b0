"""What a server takes on: how requests are joined, how many wait, and how large they are."""

from dataclasses import dataclass, field

from smartml.errors import ArgumentValueError


@dataclass(frozen=True)
class BatchLimits:
    """How requests are joined."""

    # Samples in one forward pass. A request that alone has more makes a batch of its own.
    max_batch_size: int = 64
    # The longest that an idle model, which has a request, waits for more to come.
    max_wait_s: float = 0.005
    # Samples that may wait; what would come on top is refused. One request is taken into an empty queue, however large.
    max_queued: int = 1024

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_queued"):
            if getattr(self, name) < 1:
                raise ArgumentValueError(f"{name} must be a positive number, not {getattr(self, name)}")
        if not 0 <= self.max_wait_s <= 60:
            raise ArgumentValueError(f"max_wait_s must be from 0 to 60 s, not {self.max_wait_s}")


@dataclass(frozen=True)
class ServerLimits:
    """What one server takes on."""

    batches: BatchLimits = field(default_factory=BatchLimits)
    # Bytes of one body.
    max_body_size: int = 16 * 1024 * 1024
    # Bytes of all bodies that are being read or wait for their answer.
    max_bodies_size: int = 256 * 1024 * 1024
    # Samples in one body.
    max_samples: int = 1024
    # How long a body may take to arrive.
    body_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_body_size", "max_bodies_size", "max_samples", "body_timeout_s"):
            if not getattr(self, name) > 0:
                raise ArgumentValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.max_bodies_size < self.max_body_size:
            raise ArgumentValueError(
                f"max_bodies_size, {self.max_bodies_size}, must be at least max_body_size, {self.max_body_size}"
            )
