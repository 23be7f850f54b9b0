"""One thread that waits for whatever comes next: a process that ends, or a moment that was set.

What it calls must return at once; what may block goes aside, into a few threads that end when they have nothing to do.
"""

import contextlib
import dataclasses
import heapq
import itertools
import logging
import os
import resource
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

import psutil

logger = logging.getLogger(__name__)

# What is called; what it returns is of no interest.
Act = Callable[[], object]

# So many more files can be opened than processes are watched by descriptors: starting one takes some for a moment.
_SPARE_FILES = 64

# So many acts may block at the same time; the others wait for their turn.
_MOST_ASIDE = 16

# How long a thread that has nothing more to do aside waits for the next: starting one costs more than most acts.
_IDLE_S = 2.0


@dataclasses.dataclass(order=True)
class Timer:
    """Something to be called at a moment of the monotonic clock."""

    when: float
    # Of two with the same moment the first that was set comes first.
    order: int
    act: Act = dataclasses.field(compare=False)
    is_cancelled: bool = dataclasses.field(default=False, compare=False)

    def cancel(self) -> None:
        """Do not call it; nothing happens when it was called already."""
        self.is_cancelled = True


class Loop:
    """Call functions when processes end, and when moments come. One per process, safe to use from any thread.

    has_pidfds: wait for processes by descriptors of the kernel. Without them (systems other than Linux, Linux before
    5.3), and where the limit of open files comes near, each process has a sleeping thread that waits for it.
    """

    def __init__(self, has_pidfds: bool = hasattr(os, "pidfd_open")) -> None:
        self._has_pidfds = has_pidfds
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._timers: list[Timer] = []
        # The timers that other threads want to set.
        self._inbox: deque[Timer] = deque()
        self._selector: selectors.BaseSelector | None = None
        self._wake: tuple[int, int] | None = None
        # What may block, how many threads are there for it, and how many of them have nothing to do.
        self._aside: deque[Act] = deque()
        self._threads = self._idle = 0
        self._has_aside = threading.Condition(self._lock)

    def call_later(self, delay_s: float, act: Act) -> Timer:
        """Call a function after some seconds, unless the timer is cancelled until then."""
        timer = Timer(time.monotonic() + delay_s, next(self._order), act)
        self._post(timer)
        return timer

    def watch(self, pid: int, act: Act, wait: Act | None = None) -> None:
        """Call a function when a process has ended, a child of this one or not; a child is left to be collected.

        wait: returns when the process has ended, for a thread that waits for it where the kernel offers nothing better.
        """
        if self._has_pidfds:
            try:
                descriptor = os.pidfd_open(pid)
                if self._watch_by_descriptor(descriptor, act):
                    return
                os.close(descriptor)
            except ProcessLookupError:
                self.call_later(0, act)
                return
            except OSError as error:
                logger.debug("process %d is watched by a thread: %s", pid, error)
        self._watch_by_thread(pid, act, wait)

    def aside(self, act: Act) -> None:
        """Call a function that may block in a thread of its own, as soon as one is free."""
        with self._lock:
            self._aside.append(act)
            if self._idle >= len(self._aside):
                self._has_aside.notify()
                return
            if self._threads == _MOST_ASIDE:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._run_aside, name="supervisor aside", daemon=True).start()
        except RuntimeError as error:
            # There are too many, or this process is about to end (Python 3.12.0 and 3.12.1 start none then).
            logger.debug("what may block is called by the loop: %s", error)
            self.call_later(0, lambda: self._run_aside(idle_s=0))

    def abandon(self) -> None:
        """Forget everything, in a forked child: it belongs to its parent, and so does the thread."""
        if self._selector is not None:
            for key in list(self._selector.get_map().values()):
                os.close(key.fd)
            self._selector.close()
        if self._wake is not None:
            os.close(self._wake[1])
        self._reset()

    def _post(self, timer: Timer) -> None:
        with self._lock:
            self._inbox.append(timer)
            _, (_, waker) = self._running()
            # A full pipe wakes, too.
            with contextlib.suppress(BlockingIOError):
                os.write(waker, b"\0")

    def _running(self) -> tuple[selectors.BaseSelector, tuple[int, int]]:
        """Start the thread, unless it runs; return what it waits for, and the pipe that wakes it. The lock is held."""
        if self._selector is None or self._wake is None:
            self._wake = os.pipe()
            for end in self._wake:
                os.set_blocking(end, False)
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._wake[0], selectors.EVENT_READ)
            arguments = (self._selector, self._wake[0])
            threading.Thread(target=self._run, args=arguments, name="supervisor loop", daemon=True).start()
        return self._selector, self._wake

    def _run(self, selector: selectors.BaseSelector, wake: int) -> None:
        while True:
            pause_s = max(0.0, self._timers[0].when - time.monotonic()) if self._timers else None
            for key, _ in selector.select(pause_s):
                if key.fd == wake:
                    os.read(wake, 65536)
                else:
                    with self._lock:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                    _call(key.data)
            while self._inbox:
                heapq.heappush(self._timers, self._inbox.popleft())
            while self._timers and self._timers[0].when <= time.monotonic():
                timer = heapq.heappop(self._timers)
                if not timer.is_cancelled:
                    _call(timer.act)

    def _watch_by_descriptor(self, descriptor: int, act: Act) -> bool:
        """Wait for a descriptor, too, unless there are too many."""
        if not _leaves_spare_files(descriptor):
            return False
        with self._lock:
            selector, _ = self._running()
            try:
                # The thread may be waiting at this moment: the kernel's epoll takes that, and need not be woken.
                selector.register(descriptor, selectors.EVENT_READ, act)
            except OSError as error:
                # The kernel limits how many are waited for (/proc/sys/fs/epoll/max_user_watches).
                logger.debug("a process is watched by a thread: %s", error)
                return False
        return True

    def _watch_by_thread(self, pid: int, act: Act, wait: Act | None) -> None:
        def wait_and_call() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):
                (wait or psutil.Process(pid).wait)()
            self.call_later(0, act)

        threading.Thread(target=wait_and_call, name=f"watch {pid}", daemon=True).start()

    def _run_aside(self, idle_s: float = _IDLE_S) -> None:
        while True:
            with self._has_aside:
                self._idle += 1
                has_more = self._has_aside.wait_for(lambda: self._aside, idle_s)
                self._idle -= 1
                if not has_more:
                    self._threads -= 1
                    return
                act = self._aside.popleft()
            _call(act)
            # What was done is not kept alive until the next comes.
            del act


def _leaves_spare_files(descriptor: int) -> bool:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit == resource.RLIM_INFINITY or descriptor < limit - _SPARE_FILES


def _call(act: Act) -> None:
    try:
        act()
    except Exception:
        # Nobody above could hear of it, and what else is due must not suffer.
        logger.exception("an error in the background")


loop = Loop()
os.register_at_fork(after_in_child=loop.abandon)
