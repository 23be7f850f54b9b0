"""The rates of a stream, and the sizes of what flows in it."""

import dataclasses
import sys
import threading
from collections import OrderedDict, UserDict, deque

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.pipeline.metrics import MetricsConf, RateMeter, getsize

MB = np.zeros(1024 * 1024, np.uint8)


def rates(meter, times_s, item=MB):
    return [meter.measure(item, now_s) for now_s in times_s]


def test_rates_are_those_of_the_intervals_in_the_window():
    meter = RateMeter(window_size=3)

    first, second, third, fourth = rates(meter, [10.0, 10.5, 11.0, 13.0])

    assert first is None and second is None
    assert third == {"IOPS number/s": 2.0, "throughput MB/s": 2.0}
    assert fourth == {"IOPS number/s": 0.8, "throughput MB/s": 0.8}


@pytest.mark.parametrize("window_size", [1, 2, 5, 100])
def test_a_stream_of_known_pace_measures_that_pace_with_every_window(window_size):
    meter = RateMeter(window_size)

    measured = rates(meter, [number * 0.25 for number in range(200)])

    # A window of one item needs the item before.
    unmeasured = max(window_size - 1, 1)
    assert measured[:unmeasured] == [None] * unmeasured
    assert measured[unmeasured:] == [{"IOPS number/s": 4.0, "throughput MB/s": 4.0}] * (200 - unmeasured)


def test_throughput_counts_what_passed_within_the_window():
    meter = RateMeter(3, MetricsConf(throughput_unit="bytes"))

    measured = [meter.measure(bytes(size), now_s) for now_s, size in enumerate([1000, 10, 20, 30])]

    # The first item of a window passed before its first second began.
    assert [rate and rate["throughput bytes/s"] for rate in measured] == [None, None, 15.0, 25.0]


@pytest.mark.parametrize(("unit", "rate"), [("bytes", 2 * 1024**2), ("KB", 2048.0), ("MB", 2.0), ("GB", 0.0)])
def test_the_unit_stands_in_the_key_and_is_a_power_of_1024(unit, rate):
    meter = RateMeter(2, MetricsConf(throughput_unit=unit))

    assert rates(meter, [0.0, 0.5])[1] == {"IOPS number/s": 2.0, f"throughput {unit}/s": rate}


def test_rates_have_two_digits():
    assert rates(RateMeter(2), [0.0, 3.0])[1] == {"IOPS number/s": 0.33, "throughput MB/s": 0.33}


def test_a_metric_that_is_off_is_zero():
    without_iops = RateMeter(2, MetricsConf(iops=False))
    without_throughput = RateMeter(2, MetricsConf(throughput=False))

    assert rates(without_iops, [0.0, 0.5])[1] == {"IOPS number/s": 0, "throughput MB/s": 2.0}
    assert rates(without_throughput, [0.0, 0.5])[1] == {"IOPS number/s": 2.0, "throughput MB/s": 0}


def test_nothing_is_measured_with_both_off():
    assert rates(RateMeter(2, MetricsConf(iops=False, throughput=False)), [0.0, 1.0, 2.0]) == [None] * 3


def test_the_class_stands_for_its_defaults():
    assert rates(RateMeter(2, MetricsConf), [0.0, 1.0]) == rates(RateMeter(2, MetricsConf()), [0.0, 1.0])


def test_a_clock_that_stands_still_gives_no_rate():
    assert rates(RateMeter(2), [1.0, 1.0, 1.5]) == [None, None, {"IOPS number/s": 2.0, "throughput MB/s": 2.0}]


def test_rates_are_exact_after_a_million_items():
    meter = RateMeter(10, MetricsConf(throughput_unit="bytes"))
    items = [b"", b"1", b"22", bytes(333_333_333)]

    for number in range(1_000_000):
        measured = meter.measure(items[number % 4], float(number))

    # Item 999,999 is the largest; of the nine in the window, three are.
    assert measured["throughput bytes/s"] == round((3 * 333_333_333 + sum(map(getsize, items[:3])) * 2) / 9, 2)


@pytest.mark.parametrize("window_size", [0, -1])
def test_a_window_without_items_is_refused(window_size):
    with pytest.raises(ArgumentValueError, match="window_size must be a number of items from 1 on"):
        RateMeter(window_size)


@pytest.mark.parametrize("window_size", [2.5, "5", True, None])
def test_a_window_that_is_no_number_is_refused(window_size):
    with pytest.raises(ArgumentTypeError, match="window_size must be int"):
        RateMeter(window_size)


def test_what_is_no_configuration_is_refused():
    with pytest.raises(ArgumentTypeError, match="a MetricsConf is needed"):
        RateMeter(5, {"iops": True})


def test_an_unknown_unit_is_refused_when_built():
    with pytest.raises(ArgumentValueError, match="one of bytes, KB, MB, GB, not 'MiB'"):
        MetricsConf(throughput_unit="MiB")


def test_a_switch_must_be_true_or_false():
    with pytest.raises(ArgumentTypeError, match="iops must be True or False, not 1"):
        MetricsConf(iops=1)


def test_the_configuration_as_a_dictionary():
    assert MetricsConf(iops=False).asdict() == {"iops": False, "throughput": True, "throughput_unit": "MB"}


# Sizes


@dataclasses.dataclass
class Sample:
    image: np.ndarray
    label: int


@pytest.mark.parametrize(
    ("item", "size"),
    [
        (np.zeros((10, 10), np.float32), 400),
        (np.float32(1), 4),
        (7, 8),
        (0.5, 8),
        (b"four", 4),
        ("four", 4),
        (memoryview(bytes(12)), 12),
        ({"image": np.zeros(100, np.uint8), "more": {"label": 1}}, 108),
        (OrderedDict(a=np.zeros(3)), 24),
        (UserDict(a=np.zeros(3)), 24),
        ([np.zeros(2), (np.zeros(3), [1, 2])], 56),
        (deque([np.zeros(2), np.zeros(3)]), 40),
        ({b"one", b"three"}, 8),
        (np.array([np.zeros(2), "ab", None], dtype=object)[:2], 18),
        (Sample(np.zeros(5), 3), 48),
    ],
)
def test_size_is_the_sum_of_what_is_in_it(item, size):
    assert getsize(item) == size


class TensorLike:
    """What has a shape and a dtype, but no nbytes."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype


class TensorFlowType:
    size = 4


def test_tensors_of_frameworks_are_known_by_what_they_have():
    assert getsize(TensorLike((5, 2), np.dtype(np.float64))) == 80
    assert getsize([TensorLike((5, 2), TensorFlowType())]) == 40


def test_tensors_of_torch_count_their_bytes():
    torch = pytest.importorskip("torch", reason="pip install torch")

    assert getsize({"x": torch.zeros(10, 10), "y": [torch.zeros(2, dtype=torch.int64)]}) == 416
    assert getsize(torch.eye(2).to_sparse()) > 0


@pytest.mark.parametrize("item", [0, 1, True, None, "", b"", "é", [], {}, set(), object(), Sample, np, lambda: 0])
def test_everything_has_a_size_above_zero(item):
    assert getsize(item) > 0


def test_what_cannot_be_pickled_has_a_size():
    with open(__file__) as file:
        assert getsize([threading.Lock(), file, (number for number in range(3))]) > 0


def test_items_that_hold_themselves_end():
    inner = [np.zeros(10)]
    inner.append({"me": inner})

    assert getsize(inner) == 80


def test_containers_that_are_shared_count_once():
    shared = [np.zeros(1)]
    for _ in range(100):
        shared = [shared, shared]

    assert getsize(shared) == 8


def test_nesting_may_be_deeper_than_the_stack():
    item = np.zeros(1)
    for _ in range(10 * sys.getrecursionlimit()):
        item = [item]

    assert getsize(item) == 8


class Broken(UserDict):
    """A mapping that fails at everything."""

    def values(self):
        raise RuntimeError("no values")

    @property
    def nbytes(self):
        raise ValueError("no bytes")

    def __sizeof__(self):
        raise OSError("no size")


class Evasive:
    """Has every attribute, and each is something else than expected."""

    def __getattr__(self, name):
        return "what you want"


@pytest.mark.parametrize("item", [Broken(), [Broken()], Evasive(), {"x": Evasive()}])
def test_items_that_cannot_be_measured_end_no_stream(item):
    assert getsize(item) > 0


def test_arrays_of_unknown_size_end_no_stream():
    assert getsize(TensorLike((None, 3), np.dtype(np.float64))) > 0
