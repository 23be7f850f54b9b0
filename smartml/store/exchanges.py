"""Talking to several servers at once, in one thread.

What is to be said to one server is a generator that sends and receives on its connection. It yields what it waits for
before it goes on (poll events) and is resumed with what has happened: no server is waited for while another one has
answered. Values are received whole, one after the other, each by one call into the kernel; those of the other servers
gather in its buffers meanwhile.

Threads, one per server, were the other design. They would wait for each other in every small question, be gone in a
forked child and not start in an interpreter that ends, and write into the caller's memory after the caller was
interrupted.
"""

import select
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from smartml.errors import StoreConnectionError, StoreError, StoreTimeoutError
from smartml.store.address import ServerAddress
from smartml.store.slots import announced
from smartml.store.transport import Argument, Command, Connection, Place

# Yields the events it waits for, is sent those that came.
Turns: TypeAlias = Generator[int, int, None]
# Receives the reply to the request of an index; returns how many bytes it took.
Take: TypeAlias = Callable[[int], int]

# So often a server that says nothing is looked after.
_LOOK_INTERVAL_S = 1.0
# Requests are sent in parts of about this size, so that one server takes one while others take theirs.
_PART_SIZE = 256 * 1024
# Replies under way, which the server has to hold until we take them: of so many bytes, or of so many requests.
_BYTES_UNDER_WAY = 8 * 1024 * 1024
_MAX_REQUESTS_UNDER_WAY = 512
# Until the first reply tells how large they are.
_FIRST_REQUESTS_UNDER_WAY = 2


@dataclass
class Exchange:
    """What is said to one server; `error` is why it ended early: the connection is closed then."""

    address: ServerAddress
    connection: Connection
    turns: Turns
    error: StoreError | None = None

    def resume(self, events: int) -> int:
        """Go on until it has to wait; return the events it waits for, 0 at the end."""
        try:
            return self.turns.send(events) if events else next(self.turns)
        except StopIteration:
            return 0
        except StoreError as error:
            self.fail(error)
            return 0

    def fail(self, error: StoreError) -> None:
        """End it before its time."""
        self.error = error
        self.turns.close()
        self.connection.close()


def run_all(exchanges: Sequence[Exchange], timeout_s: float, was_replaced: Callable[[ServerAddress], bool]) -> None:
    """Run exchanges to their ends, all at once; what fails on one connection stands in its exchange.

    All fail that still wait when nothing has come from anywhere for `timeout_s`. `was_replaced` is asked about servers
    that are silent; one that was is waited for no longer. Closes all connections when anything else is raised.
    """
    poll = select.poll()
    waiting: dict[int, Exchange] = {}
    try:
        for exchange in exchanges:
            # Before it runs: a connection that is closed has no number any more.
            number = exchange.connection.fileno()
            if events := exchange.resume(0):
                poll.register(number, events)
                waiting[number] = exchange
        last_sign = time.monotonic()
        while waiting:
            silent_s = time.monotonic() - last_sign
            ready = poll.poll(1000 * max(0.001, min(_LOOK_INTERVAL_S, timeout_s - silent_s)))
            if ready:
                last_sign = time.monotonic()
            elif silent_s >= timeout_s:
                _give_up(waiting.values())
                return
            for number, events in ready or _leave_replaced(waiting, was_replaced):
                wanted = waiting[number].resume(events) if events else 0
                if wanted:
                    poll.modify(number, wanted)
                else:
                    poll.unregister(number)
                    del waiting[number]
    except BaseException:
        for exchange in exchanges:
            exchange.connection.close()
        raise


def _leave_replaced(
    waiting: dict[int, Exchange], was_replaced: Callable[[ServerAddress], bool]
) -> list[tuple[int, int]]:
    left = [(number, exchange) for number, exchange in waiting.items() if was_replaced(exchange.address)]
    for _, exchange in left:
        exchange.fail(
            StoreConnectionError(f"the database at {exchange.address} is silent, and another node has taken its place")
        )
    return [(number, 0) for number, _ in left]


def _give_up(exchanges: Iterable[Exchange]) -> None:
    for exchange in exchanges:
        exchange.fail(
            StoreTimeoutError(
                f"no progress in the time allowed while waiting for the database at {exchange.address}; "
                "give the client a larger timeout_s if its answers take long"
            )
        )


def ask(connection: Connection, requests: Sequence[Sequence[Command]], take: Take, *, large: bool = False) -> Turns:
    """Send requests, each of one or more commands, and take the replies to each, in their order.

    For `large` replies requests are sent ahead only so far that a bounded number of bytes is under way.
    """
    sent = taken = 0
    allowed = _FIRST_REQUESTS_UNDER_WAY if large else len(requests)
    events = select.POLLOUT
    while taken < len(requests):
        if events & select.POLLOUT:
            upto = min(len(requests), taken + allowed)
            end = upto if large else _end_of_part(requests, sent)
            connection.send([command for request in requests[sent:end] for command in request])
            sent = end
        else:
            while True:
                size = take(taken)
                taken += 1
                if large and size:
                    allowed = max(2, min(_MAX_REQUESTS_UNDER_WAY, _BYTES_UNDER_WAY // size))
                if taken == sent or not connection.has_data():
                    break
        if taken < len(requests):
            # Topping up when half is left keeps the number of sends low.
            may_send = sent < len(requests) and (not large or sent - taken <= allowed // 2)
            events = yield (select.POLLOUT if may_send else 0) | (select.POLLIN if taken < sent else 0)


def say(connection: Connection, commands: Sequence[Command]) -> Generator[int, int, list[Any]]:
    """Send commands and return their replies."""
    replies: list[Any] = []

    def take(_: int) -> int:
        replies.append(connection.read_reply())
        return 0

    yield from ask(connection, [[command] for command in commands], take)
    return replies


def receive_values(
    connection: Connection,
    keys: Sequence[bytes],
    indices: Sequence[int],
    place: Place,
    outcomes: list[Any],
    *,
    on_its_way: bool = False,
) -> Turns:
    """Read the values of the keys of some indices, each into the memory that `place(index, size)` returns for it.

    Notes in `outcomes` what became of each; `on_its_way` announces each request to a node that does not hold its slot
    yet.
    """

    def take(number: int) -> int:
        if on_its_way:
            connection.read_reply()
        index = indices[number]
        outcome = outcomes[index] = connection.read_value(index, place)
        return outcome if isinstance(outcome, int) else 0

    requests: list[list[Command]] = [[(b"GET", keys[index])] for index in indices]
    return ask(connection, list(map(announced, requests)) if on_its_way else requests, take, large=True)


def _end_of_part(requests: Sequence[Sequence[Command]], start: int) -> int:
    """Return where a part that begins with one request ends: no server is sent much while others wait for theirs."""
    size = 0
    for end in range(start, len(requests)):
        size += sum(_size(argument) for command in requests[end] for argument in command)
        if size >= _PART_SIZE:
            return end + 1
    return len(requests)


def _size(argument: Argument) -> int:
    return argument[0].nbytes + len(argument[1]) if isinstance(argument, tuple) else len(argument)
