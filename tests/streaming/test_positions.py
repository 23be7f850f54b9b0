"""Where clients stand in a stream that is read once: own positions, shared work, bounded memory."""

import sys
import threading

import pytest
from servers import wait_until

pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml.errors import StreamingError
from smartml.pipeline import IterableSource
from smartml.streaming.encoding import Encoder
from smartml.streaming.positions import OwnPosition, Pool, SharedPosition
from smartml.streaming.protocol import Feature, Info
from smartml.streaming.samples import Sample
from smartml.streaming.window import Extent, Window

ENCODER = Encoder(Info({"x": Feature("sequence")}, {}))
EVERYTHING = 1 << 20


def encode(item, position):
    return ENCODER.encode(Sample({"x": str(item)}, {}, f"s{position}"))


class Reads:
    """A source that counts what was read of it."""

    def __init__(self, items):
        self.items, self.count = items, 0

    def __iter__(self):
        for item in self.items:
            self.count += 1
            yield item


@pytest.fixture
def windows():
    made = []

    def make(items, start=0, **extent):
        source = items if isinstance(items, Reads) else Reads(items)
        chain = IterableSource(source)
        changed = threading.Event()
        made.append(Window(chain.begin, encode, Extent(**extent), changed.set, start))
        return made[-1]

    yield make
    for window in made:
        window.close()


def nothing():
    return frozenset()


def own(window, hidden=nothing, replay=None):
    return OwnPosition(window, hidden, replay)


def take(position, number, is_full=True):
    batch = wait_until(lambda: position.take(number, EVERYTHING, is_full=is_full))
    position.sent()
    return [sample.sample_id for sample in batch.samples]


def test_each_position_gets_all_samples_and_then_the_end_again_and_again(windows):
    window = windows(range(5))
    for position in (own(window), own(window)):
        assert take(position, 2) == ["s0", "s1"]
        assert take(position, 10) == ["s2", "s3", "s4"]
        assert take(position, 10) == take(position, 1) == []


def test_a_reset_begins_anew_or_anywhere_and_touches_nobody_else(windows):
    window = windows(range(6))
    first, second = own(window), own(window)
    take(first, 4), take(second, 3)
    assert first.reset(None) == 0
    assert take(first, 2) == ["s0", "s1"]
    assert take(second, 1) == ["s3"]
    assert first.reset(5) == 5
    assert take(first, 2) == ["s5"]
    assert first.reset(10**12) == 6


def test_hidden_samples_are_left_out_and_batches_are_full_nevertheless(windows):
    hidden = {"s1", "s3"}
    position = own(windows(range(6)), lambda: frozenset(hidden))
    assert take(position, 3) == ["s0", "s2", "s4"]
    hidden.clear()
    position.reset(None)
    assert take(position, 3) == ["s0", "s1", "s2"]


def test_the_source_is_read_once_and_only_a_little_ahead(windows):
    source = Reads(range(1000))
    window = windows(source, ahead=10)
    wait_until(lambda: source.count == 10)
    first, second = own(window), own(window)
    take(first, 50)
    take(second, 50)
    wait_until(lambda: source.count == 60)
    assert window.end == 60


def test_what_is_read_ahead_is_bounded_in_bytes_however_much_is_asked_for(windows):
    source = Reads(["x" * 1000] * 1000)
    window = windows(source, ahead=10**6, ahead_bytes=100_000)
    position = own(window)
    batch = wait_until(lambda: position.take(10**9, 20_000, is_full=True))
    assert 10 < len(batch.samples) < 20
    assert source.count < 100


def test_a_batch_is_as_full_as_its_bytes_allow_and_never_empty(windows):
    position = own(windows(["x" * 1000] * 3))
    assert len(wait_until(lambda: position.take(3, 10, is_full=True)).samples) == 1
    assert len(wait_until(lambda: position.take(3, 2500, is_full=True)).samples) == 2


def test_a_batch_waits_to_be_full_unless_told_otherwise(windows):
    more = threading.Event()

    def items():
        yield from "ab"
        more.wait(20)
        yield from "cd"

    window = windows(items())
    position = own(window)
    wait_until(lambda: window.end == 2)
    assert position.take(4, EVERYTHING, is_full=True) is None
    assert take(position, 4, is_full=False) == ["s0", "s1"]
    assert position.take(4, EVERYTHING, is_full=False) is None
    more.set()
    assert take(position, 4) == ["s2", "s3"]


def test_memory_is_bounded_and_who_is_too_slow_misses_what_cannot_be_read_again(windows):
    window = windows(["x" * 1000] * 500, window_bytes=50_000, ahead=5)
    slow, fast = own(window), own(window)
    assert take(slow, 1) == ["s0"]
    for _ in range(10):
        take(fast, 40)
        assert window.held_bytes < 50_000 + 5 * 3000
    first = window.first
    assert first > 350
    assert take(slow, 1) == [f"s{first}"]
    assert slow.status() == {"current_position": first + 1, "missed_samples": first - 1}
    assert slow.reset(None) == window.first


def test_who_comes_late_to_a_stream_that_cannot_be_read_again_begins_where_it_is(windows):
    window = windows(["x" * 1000] * 500, window_bytes=50_000, ahead=5)
    take(own(window), 400)
    late = own(window)
    assert late.status() == {"current_position": window.first, "missed_samples": 0}


def test_who_is_too_slow_reads_again_what_can_be_read_again(windows):
    items = ["x" * 1000] * 300
    window = windows(items, window_bytes=50_000, ahead=5)
    position = own(window, replay=lambda start: windows(items, start, window_bytes=0, ahead=5))
    take(position, 300)
    assert window.first > 200
    position.reset(None)
    assert [name for _ in range(6) for name in take(position, 50)] == [f"s{number}" for number in range(300)]
    assert position.take(1, EVERYTHING, is_full=True).samples == []
    position.close()


def test_nobody_is_left_waiting_for_what_has_come_meanwhile():
    changed, taken = threading.Event(), threading.Semaphore()

    def items():
        for number in range(3000):
            # The next sample comes just when it is asked for, and nothing comes behind it.
            taken.acquire(timeout=20)
            yield number

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    window = Window(IterableSource(items).begin, encode, Extent(), changed.set)
    try:
        position, found = own(window), []
        while len(found) < 3000:
            changed.clear()
            batch = position.take(1, EVERYTHING, is_full=True)
            if batch is None:
                assert changed.wait(20)
            else:
                found += [sample.sample_id for sample in batch.samples]
                taken.release()
    finally:
        sys.setswitchinterval(interval)
        window.close()
    assert found == [f"s{number}" for number in range(3000)]


def test_a_source_that_fails_gives_what_it_had_and_then_its_error(windows):
    def items():
        yield from "ab"
        raise ZeroDivisionError("out of luck")

    position = own(windows(items()))
    assert take(position, 5) == ["s0", "s1"]
    with pytest.raises(StreamingError, match="the source of the stream failed: out of luck"):
        take(position, 5)


# Shared work


def shared(window, number=2, renew=None, hidden=nothing):
    pool = Pool(window, renew)
    return [SharedPosition(pool, hidden) for _ in range(number)]


def test_shared_positions_get_each_sample_once(windows):
    first, second = shared(windows(range(6)))
    assert take(first, 2) == ["s0", "s1"]
    assert take(second, 2) == ["s2", "s3"]
    assert take(first, 5) == ["s4", "s5"]
    assert take(first, 1) == take(second, 1) == []


def test_a_reset_gives_back_what_its_own_connection_took(windows):
    first, second = shared(windows(range(6)))
    assert take(first, 1) == ["s0"]
    assert take(second, 2) == ["s1", "s2"]
    first.reset(None)
    assert take(second, 1) == ["s0"]
    assert take(first, 9) == ["s3", "s4", "s5"]


def test_a_reset_of_the_only_client_begins_anew(windows):
    first, second = shared(windows(range(4)))
    take(second, 2)
    second.close()
    take(first, 1)
    first.reset(None)
    assert take(first, 9) == ["s0", "s1", "s2", "s3"]


def test_the_only_client_begins_anew_beyond_the_window_where_the_source_can(windows):
    items = ["x" * 1000] * 100
    first, second = shared(windows(items, window_bytes=20_000), renew=lambda: windows(items, window_bytes=20_000))
    second.close()
    take(first, 100)
    first.reset(None)
    assert take(first, 2) == ["s0", "s1"]


def test_what_was_not_sent_when_a_client_leaves_goes_to_others(windows):
    first, second = shared(windows(range(4)))
    wait_until(lambda: first.take(3, EVERYTHING, is_full=True))
    first.close()
    assert take(second, 9) == ["s0", "s1", "s2", "s3"]


def test_hidden_samples_are_shared_with_nobody(windows):
    first, second = shared(windows(range(4)), hidden=lambda: frozenset({"s1"}))
    assert take(first, 2) == ["s0", "s2"]
    assert take(second, 2) == ["s3"]
