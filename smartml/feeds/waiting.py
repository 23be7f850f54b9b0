"""Waiting for the other side of a stream: counted, shown, and never for ever in silence."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smartml.errors import ArgumentValueError, FeedTimeoutError

logger = logging.getLogger(__name__)

# While waiting, the server is asked at intervals that grow from the first to the second.
SHORTEST_POLL_S = 0.002
LONGEST_POLL_S = 0.05


@dataclass
class Waits:
    """How often something had to wait, and how long in all."""

    number: int = 0
    seconds: float = 0.0


def wait_for(
    look: Callable[[], tuple[bool, Any]], describe: Callable[[], str], waits: Waits, timeout_s: float | None
) -> None:
    """Wait until `look()` says so; returns at once, uncounted, when it does at first.

    `look` also returns where the other side is: the time allowed (None: no end) begins anew whenever that has changed.
    Raises FeedTimeoutError with what `describe()` says.
    """
    is_over, before = look()
    if is_over:
        return
    waits.number += 1
    logger.log(logging.INFO if waits.number == 1 else logging.DEBUG, "%s", describe())
    began = last_news = time.monotonic()
    pause_s = SHORTEST_POLL_S
    try:
        while not is_over:
            waited_s = time.monotonic() - last_news
            if timeout_s is not None and waited_s >= timeout_s:
                raise FeedTimeoutError(f"{describe()}; nothing has changed within {timeout_s:g} s")
            time.sleep(pause_s if timeout_s is None else min(pause_s, timeout_s - waited_s))
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)
            is_over, now = look()
            if now != before:
                before, last_news = now, time.monotonic()
    finally:
        waits.seconds += time.monotonic() - began


def checked_timeout(name: str, timeout_s: float | None) -> float | None:
    """Return the time that an argument allows, or say what is wrong with it."""
    if timeout_s is not None and not timeout_s >= 0:
        raise ArgumentValueError(f"{name} must be a number of seconds or None, not {timeout_s!r}")
    return timeout_s
