"""The step that measures: what it tells callbacks, and the packages whose functions people hand to it."""

import threading

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.pipeline import IterableSource, MetricsConf

from .table import double

MB = np.zeros(1024 * 1024, np.uint8)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""

    class Clock:
        now_s = 100.0

        def paced(self, items, seconds):
            """Give items, each after so many seconds."""
            for item in items:
                self.now_s += seconds
                yield item

    made = Clock()
    monkeypatch.setattr("smartml.pipeline.steps.perf_counter", lambda: made.now_s)
    return made


def test_two_monitors_with_prefixes_tell_four_metrics(clock):
    told = {}

    def slow(item):
        clock.now_s += 0.25
        return item

    chain = (
        IterableSource(clock.paced([MB] * 10, 0.25))
        .monitor(told.update, prefix="(before async_map) ")
        .map(slow)
        .monitor(told.update, prefix="(after async_map) ")
    )
    chain.join()

    # One after the other in one thread: an item takes half a second at either place.
    assert told == {
        "(before async_map) IOPS number/s": 2.0,
        "(before async_map) throughput MB/s": 2.0,
        "(after async_map) IOPS number/s": 2.0,
        "(after async_map) throughput MB/s": 2.0,
    }


@pytest.mark.parametrize(("window_size", "calls"), [(1, 19), (2, 19), (5, 16), (20, 1), (21, 0)])
def test_the_rate_of_a_known_pace_is_told_with_every_item_once_the_window_is_full(window_size, calls, clock):
    told = []

    items = IterableSource(clock.paced([MB] * 20, 0.5)).monitor(told.append, window_size=window_size).collect()

    assert len(items) == 20
    assert told == [{"IOPS number/s": 2.0, "throughput MB/s": 2.0}] * calls


def test_the_callback_is_told_before_the_item_is_handed_on(clock):
    events = []
    chain = IterableSource(clock.paced("abc", 1)).monitor(lambda rates: events.append("rates"), window_size=2)

    for item in chain:
        events.append(item)

    assert events == ["a", "rates", "b", "rates", "c"]


def test_a_configuration_and_further_arguments_reach_whom_they_concern(clock):
    told = []

    def log(rates, step):
        told.append((rates, step))

    conf = MetricsConf(iops=False, throughput_unit="KB")
    IterableSource(clock.paced([MB] * 2, 1)).monitor(log, metrics_conf=conf, window_size=2, step=7).join()

    assert told == [({"IOPS number/s": 0, "throughput KB/s": 1024.0}, 7)]


def test_each_pass_has_a_window_of_its_own(clock):
    told = []
    chain = IterableSource(lambda: clock.paced(range(3), 1)).monitor(told.append, window_size=3)

    chain.join()
    clock.now_s += 1000
    chain.join()

    assert [rates["IOPS number/s"] for rates in told] == [1.0, 1.0]


def test_items_that_cannot_be_pickled_pass(clock):
    items = [threading.Lock(), lambda: 0, (number for number in range(3))]

    assert IterableSource(items).monitor(lambda rates: None, window_size=1).collect() == items


def test_an_error_of_the_callback_ends_the_stream(clock):
    def broken(rates):
        raise OSError("the tracking server is away")

    items = iter(IterableSource(clock.paced(range(5), 1)).monitor(broken, window_size=2))
    assert next(items) == 0

    with pytest.raises(OSError, match="the tracking server is away"):
        next(items)
    assert list(items) == []


def test_what_cannot_be_measured_is_refused_when_the_chain_is_built():
    source = IterableSource([])

    with pytest.raises(ArgumentTypeError, match="monitor takes something to call"):
        source.monitor("wandb.log")
    with pytest.raises(ArgumentValueError, match="window_size must be a number of items from 1 on"):
        source.monitor(print, window_size=0)
    with pytest.raises(ArgumentTypeError, match="a MetricsConf is needed"):
        source.monitor(print, metrics_conf={"iops": True})


# The packages, where they are installed

PREFIXES = ("before async_map: ", "after async_map: ")


def monitored(log, **keywords):
    chain = IterableSource(range(20)).monitor(log, PREFIXES[0], **keywords).async_map(double, max_workers=2)
    return chain.monitor(log, PREFIXES[1], **keywords)


KEYS = {f"{prefix}{name}" for prefix in PREFIXES for name in ("IOPS number/s", "throughput MB/s")}


@pytest.mark.filterwarnings("default")
def test_wandb_takes_what_is_told(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")

    with wandb.init(mode="offline", dir=tmp_path) as run:
        monitored(run.log).join()
        assert set(run.summary.keys()) >= KEYS


@pytest.mark.filterwarnings("default")
def test_mlflow_takes_what_is_told_unless_there_are_parentheses_in_the_prefix(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    # Its other stores need a database.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())

    with mlflow.start_run() as run:
        # A thread that reads ahead has no run of its own.
        monitored(mlflow.log_metrics, run_id=run.info.run_id).join()
        with pytest.raises(mlflow.exceptions.MlflowException, match=r"[Ii]nvalid"):
            IterableSource(range(9)).monitor(mlflow.log_metrics, "(before async_map) ").join()
    assert set(mlflow.get_run(run.info.run_id).data.metrics) == KEYS
