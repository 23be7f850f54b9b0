"""What all entities are."""

from dataclasses import dataclass

__all__ = ["SmartSimEntity", "TelemetryConfiguration"]


class SmartSimEntity:
    """A thing that an experiment starts as one."""


@dataclass
class TelemetryConfiguration:
    """Whether an entity, or all of an experiment, is observed while it runs."""

    is_enabled: bool = False

    def enable(self) -> None:
        """Observe it from the next start on."""
        self.is_enabled = True

    def disable(self) -> None:
        """Do not observe it any more."""
        self.is_enabled = False
