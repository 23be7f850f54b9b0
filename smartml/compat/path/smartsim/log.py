"""What is logged, by SmartSim's names: one logger "SmartSim", whose records go to the standard output.

What smartml itself has to say goes there as well. `SMARTSIM_LOG_LEVEL` is quiet (warnings and above), info, debug or
developer.
"""

import contextvars
import functools
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "ContextAwareLogger",
    "ContextInjectingLogFilter",
    "ContextThread",
    "HostnameFilter",
    "LowPassFilter",
    "ctx_exp_path",
    "get_exp_log_paths",
    "get_logger",
    "log_to_exp_file",
    "log_to_file",
    "method_contextualizer",
]

DEFAULT_DATE_FORMAT = "%H:%M:%S"
DEFAULT_LOG_FORMAT = "%(asctime)s %(hostname)s %(name)s[%(process)d:%(threadName)s] %(levelname)s %(message)s"

# Of smartml, whose loggers are below this one, and of programs of SmartSim.
_NAMES = ("SmartSim", "smartml")

_LEVELS = {"quiet": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG, "developer": logging.DEBUG}
_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31;1", "INFO": "32", "DEBUG": "34"}

ctx_exp_path: contextvars.ContextVar[str] = contextvars.ContextVar("exp_path", default="")

Value = TypeVar("Value")


class HostnameFilter(logging.Filter):
    """Notes the name of this machine in every record."""

    hostname = socket.gethostname()

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record."""
        record.hostname = self.hostname
        return True


class LowPassFilter(logging.Filter):
    """Keeps records up to a level."""

    def __init__(self, maximum_level: str) -> None:
        super().__init__()
        self.maximum_level = maximum_level

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is kept."""
        return record.levelno <= _level(self.maximum_level)


class ContextInjectingLogFilter(logging.Filter):
    """Notes the folder of the experiment in every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record."""
        record.exp_path = ctx_exp_path.get()
        return True


class ContextAwareLogger(logging.Logger):
    """A logger whose records know the folder of the experiment."""

    def __init__(self, name: str, level: int | str = logging.NOTSET) -> None:
        super().__init__(name, level)
        self.addFilter(ContextInjectingLogFilter())


class ContextThread(threading.Thread):
    """A thread that begins with the context variables of the one that made it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._context = contextvars.copy_context()
        super().__init__(*args, **kwargs)

    def run(self) -> None:
        """Run what the thread was made for."""
        self._context.run(super().run)


class _Formatter(logging.Formatter):
    """Formats records, and the word for their level in its colour where there is a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "hostname"):
            record.hostname = HostnameFilter.hostname
        text = super().format(record)
        colour = _COLOURS.get(record.levelname, "0")
        is_coloured = sys.stdout is not None and sys.stdout.isatty()
        return text.replace(record.levelname, f"\033[{colour}m{record.levelname}\033[0m", 1) if is_coloured else text


class _StandardOutput(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the standard output as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def get_logger(name: str, log_level: str | None = None, fmt: str | None = None) -> logging.Logger:
    """Return the logger of all programs, or at the level "developer" one of that name."""
    _set_up(fmt)
    chosen = log_level or os.environ.get("SMARTSIM_LOG_LEVEL", "info")
    logger = logging.getLogger(f"SmartSim.{name}" if chosen == "developer" else "SmartSim")
    if log_level:
        logger.setLevel(_level(log_level))
    return logger


def log_to_file(filename: str, log_level: str = "debug", logger: logging.Logger | None = None) -> None:
    """Write records to a file as well, which is emptied first."""
    handler = _file_handler(filename, log_level)
    for target in [logger] if logger is not None else map(logging.getLogger, _NAMES):
        target.addHandler(handler)
        target.setLevel(min(target.level or logging.WARNING, handler.level))


def log_to_exp_file(
    filename: str,
    logger: logging.Logger,
    log_level: str = "warn",
    fmt: str | None = DEFAULT_LOG_FORMAT,
    log_filter: logging.Filter | None = None,
) -> logging.Handler:
    """Write the records of a logger to a file as well, at whose end it goes on; return what does so."""
    handler = _file_handler(filename, log_level, "a", fmt)
    if log_filter is not None:
        handler.addFilter(log_filter)
    logger.addHandler(handler)
    return handler


def get_exp_log_paths() -> tuple[str | None, str | None]:
    """Return the files for the records of the experiment of this context: none, its records are not kept there."""
    return None, None


def method_contextualizer(
    ctx_var: contextvars.ContextVar[Value], ctx_map: Callable[[Any], Value]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a method run with a context variable set to what `ctx_map` returns for its object."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def contextual(self: Any, *args: Any, **kwargs: Any) -> Any:
            token = ctx_var.set(ctx_map(self))
            try:
                return method(self, *args, **kwargs)
            finally:
                ctx_var.reset(token)

        return contextual

    return decorate


def _level(name: str) -> int:
    known = {**_LEVELS, "warn": logging.WARNING, "warning": logging.WARNING, "error": logging.ERROR}
    return known.get(name.lower(), logging.INFO)


def _file_handler(filename: str, level: str, mode: str = "w", fmt: str | None = None) -> logging.Handler:
    handler = logging.FileHandler(filename, mode=mode, encoding="utf-8")
    handler.setLevel(_level(level))
    handler.addFilter(HostnameFilter())
    handler.setFormatter(logging.Formatter(fmt or DEFAULT_LOG_FORMAT, DEFAULT_DATE_FORMAT))
    return handler


def _set_up(fmt: str | None = None) -> None:
    """Send records to the standard output, as SmartSim does as soon as it is imported."""
    level = _level(os.environ.get("SMARTSIM_LOG_LEVEL", "info"))
    for name in _NAMES:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _StandardOutput) for handler in logger.handlers):
            handler = _StandardOutput()
            handler.setLevel(level)
            handler.setFormatter(_Formatter(fmt or DEFAULT_LOG_FORMAT, DEFAULT_DATE_FORMAT))
            logger.addHandler(handler)
            logger.setLevel(level)
            logger.propagate = False
