"""What everything of SmartRedis that has a name can do: log under it."""

from smartredis.levels import SRLoggingLevel
from smartredis.logger import log_data, log_error, log_warning

__all__ = ["SRObject"]


class SRObject:
    """Something whose lines in the log begin with its name."""

    def __init__(self, context: str) -> None:
        self._context = context

    @property
    def _log_name(self) -> str:
        return self._context

    def log_data(self, level: SRLoggingLevel, data: str) -> None:
        """Write a line."""
        log_data(self._log_name, level, data)

    def log_warning(self, level: SRLoggingLevel, data: str) -> None:
        """Write a line that is a warning."""
        log_warning(self._log_name, level, data)

    def log_error(self, level: SRLoggingLevel, data: str) -> None:
        """Write a line that tells of an error."""
        log_error(self._log_name, level, data)
