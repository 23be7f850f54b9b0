"""Lines of a log: in the file that `SR_LOG_FILE` names, else on the standard output, up to `SR_LOG_LEVEL`."""

import os
import sys
import time

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartredis.error import SMARTREDIS
from smartredis.levels import SRLoggingLevel

__all__ = ["log_data", "log_error", "log_warning"]


@SMARTREDIS.call
def log_data(context: str, level: SRLoggingLevel, data: str) -> None:
    """Write a line."""
    _write(context, level, data)


@SMARTREDIS.call
def log_warning(context: str, level: SRLoggingLevel, data: str) -> None:
    """Write a line that is a warning."""
    _write(context, level, data, "WARNING: ")


@SMARTREDIS.call
def log_error(context: str, level: SRLoggingLevel, data: str) -> None:
    """Write a line that tells of an error."""
    _write(context, level, data, "ERROR: ")


def _write(context: str, level: SRLoggingLevel, data: str, mark: str = "") -> None:
    for name, value, kind in (("context", context, str), ("level", level, SRLoggingLevel), ("data", data, str)):
        if not isinstance(value, kind):
            raise ArgumentTypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}: {value!r:.80}")
    chosen = os.environ.get("SR_LOG_LEVEL") or "INFO"
    known = {one.name.removeprefix("LL").upper(): one for one in SRLoggingLevel}
    if chosen.upper() not in known:
        raise ArgumentValueError(f"SR_LOG_LEVEL is {chosen!r}; there are: {', '.join(known)}")
    if level > known[chosen.upper()]:
        return
    line = f"{context}@{time.strftime('%H-%M-%S')}:{mark}{data}\n"
    if file := os.environ.get("SR_LOG_FILE"):
        # Opened for each line, since processes share it.
        with open(file, "a", encoding="utf-8") as log:
            log.write(line)
    else:
        sys.stdout.write(line)
