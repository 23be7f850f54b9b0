"""Producers of both schemes and feeds of all frameworks, for laws that hold for every one of them."""

import contextlib
import importlib.util
import os
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
from servers import DEADLINE_S, wait_until  # noqa: F401 (for the tests beside it)

from smartml.feeds import DataDownloader, DataInfo, TrainingDataUploader


def numbers(*values, dtype="float32"):
    """A batch of samples that are numbers: shape (n,)."""
    return np.array(values, dtype)


def flat(lists):
    """The items of lists in lists, in order."""
    return [item for part in lists for item in part]


def peak_memory(action):
    """Run a function and return how many bytes more than before were in use at its peak."""
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    action()
    _, peak = tracemalloc.get_traced_memory()
    if not was_tracing:
        tracemalloc.stop()
    return peak - before


def skip_without(package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package!r} is not installed")


def needs(package):
    """Mark a test that needs a package."""
    is_missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(is_missing, reason=f"the package {package!r} is not installed")


def import_keras():
    skip_without("keras")
    backend = "torch" if importlib.util.find_spec("torch") else "tensorflow"
    skip_without(backend)
    os.environ.setdefault("KERAS_BACKEND", backend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
    return keras


class KeyProducer:
    """A producer that puts tensors `points_<iteration>` and `values_<iteration>`."""

    def __init__(self, client):
        self.client = client
        self.iteration = 0

    def put(self, samples, targets=None):
        self.client.put_tensor(f"points_{self.iteration}", samples)
        if targets is not None:
            self.client.put_tensor(f"values_{self.iteration}", targets)
        self.iteration += 1

    def close(self):
        self.client.close()

    @staticmethod
    def arguments(targets, num_classes):
        return {"sample_prefix": "points", "target_prefix": targets and "values", "num_classes": num_classes}


class ListProducer:
    """A producer that puts datasets on an aggregation list."""

    def __init__(self, client):
        # An uploader makes its own client, from the same environment.
        self.uploader = TrainingDataUploader("training", "points", "values")

    def put(self, samples, targets=None):
        self.uploader.put_batch(samples, targets)

    def close(self):
        self.uploader.close()

    @staticmethod
    def arguments(targets, num_classes):
        info = DataInfo("training", "points", "values" if targets else None, num_classes)
        return {"data_info_or_list_name": info}


class Scheme:
    """One way to name what is put: its producers, and the arguments of a feed that follows them."""

    def __init__(self, producer_class, client, close_later):
        self.producer_class, self._client, self._close_later = producer_class, client, close_later

    def producer(self):
        return self._close_later(self.producer_class(self._client))

    def arguments(self, targets=False, num_classes=None):
        return self.producer_class.arguments(targets, num_classes)


@pytest.fixture
def close_later():
    """Take feeds, uploaders and clients, and close them when the test ends."""
    with contextlib.ExitStack() as stack:

        def take(closable):
            stack.callback(closable.close)
            return closable

        yield take


@pytest.fixture(params=[KeyProducer, ListProducer], ids=["by-key", "by-list"])
def scheme(request, client, close_later):
    return Scheme(request.param, client, close_later)


@pytest.fixture
def producer(scheme):
    return scheme.producer()


def build(framework, dynamic, **arguments):
    """Build a feed of a framework: None, "keras" or "torch"."""
    if framework is None:
        return DataDownloader(dynamic=dynamic, **arguments)
    if framework == "keras":
        import_keras()
        from smartml.feeds import keras as feeds
    else:
        skip_without("torch")
        from smartml.feeds import torch as feeds
    return (feeds.DynamicDataGenerator if dynamic else feeds.StaticDataGenerator)(**arguments)


@pytest.fixture
def make_feed(scheme, close_later):
    """Build a feed for the scheme's producers. Rows stay in order of arrival unless `shuffle` says otherwise."""

    def make(framework=None, dynamic=True, targets=False, num_classes=None, **arguments):
        defaults = {"batch_size": 2, "shuffle": False, "wait_timeout_s": DEADLINE_S}
        arguments = {**defaults, **scheme.arguments(targets, num_classes), **arguments}
        return close_later(build(framework, dynamic, **arguments))

    return make


@pytest.fixture
def make_plain_feed(client, close_later):
    """Build a feed without a framework from its own arguments alone; it waits for nothing unless told to."""

    def make(**arguments):
        defaults = {"batch_size": 2, "shuffle": False, "wait_timeout_s": 0}
        return close_later(DataDownloader(**{**defaults, **arguments}))

    return make


def one_pass(feed):
    """Begin a pass and return its batches, as lists or tuples of lists."""
    if hasattr(feed, "on_epoch_end"):
        feed.on_epoch_end()
        batches = [feed[index] for index in range(len(feed))]
    else:
        batches = list(feed)
    return [
        tuple(np.asarray(part).tolist() for part in batch) if isinstance(batch, tuple) else np.asarray(batch).tolist()
        for batch in batches
    ]


@pytest.fixture
def in_background():
    """Run functions in threads that are joined, and whose errors are raised, when the test ends."""
    threads = []
    errors = []

    def run(function):
        def guarded():
            try:
                function()
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads.append(threading.Thread(target=guarded))
        threads[-1].start()
        return threads[-1]

    yield run
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert not errors, errors


@pytest.fixture
def command_counts(client):
    """Return a function that tells how often each command was run since the function was made or last called."""

    def counts():
        database = client.database
        text = database.ask_server(database.address, "INFO", "commandstats").decode()
        database.ask_server(database.address, "CONFIG", "RESETSTAT")
        lines = [line.removeprefix("cmdstat_").split(":calls=") for line in text.splitlines() if ":calls=" in line]
        found = {name: int(rest.partition(",")[0]) for name, rest in lines}
        return {name: count for name, count in found.items() if name not in ("info", "config", "config|resetstat")}

    counts()
    return counts


@pytest.fixture
def of_entity(monkeypatch):
    """Clients and uploaders made in `with of_entity(name):` write as an entity with key prefixing does."""

    @contextlib.contextmanager
    def writing_as(name):
        monkeypatch.setenv("SSKEYOUT", name)
        yield
        monkeypatch.delenv("SSKEYOUT")

    return writing_as
