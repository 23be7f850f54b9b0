"""A name to log under."""

from smartredis.srobject import SRObject

__all__ = ["LogContext"]


class LogContext(SRObject):
    """A name to log under."""

    def get_context(self) -> "LogContext":
        """Return what lies below: itself."""
        return self

    def set_context(self, logcontext: "LogContext") -> None:
        """Take over the name of another."""
        self._context = logcontext._context

    @staticmethod
    def from_pybind(logcontext: "LogContext") -> "LogContext":
        """Return what lies below another, which is that itself."""
        return logcontext
