"""A feed logs itself to the records of a run."""

import pytest

from smartml.errors import ArgumentTypeError
from smartml.monitor import DataLogger, RecordServer, script

from .conftest import numbers, one_pass


@pytest.fixture
def records(tmp_path, monkeypatch):
    for variable in ("SMARTML_MONITOR", "SMARTML_MONITOR_AUTH", "SMARTML_MONITOR_SCOPE", "SMARTML_ENTITY"):
        monkeypatch.delenv(variable, raising=False)
    with RecordServer(tmp_path / "records", port=0, durability="never") as server:
        monkeypatch.setenv("SMARTML_MONITOR", server.address)
        yield server


def test_a_feed_tells_what_arrived_stayed_and_was_used(producer, make_feed, records):
    producer.put(numbers(1, 2, 3))
    with DataLogger("run") as log:
        feed = make_feed(capacity=4, policy="fifo", monitor=log)
        one_pass(feed)
        producer.put(numbers(4, 5))
        producer.put(numbers(6))
        one_pass(feed)

    found = {name: fields["y"].tolist() for (_, name, _), fields in script.export(records.address).items()}
    assert found["feed/arrived"][-1] == feed.stats.arrived == 6
    assert found["feed/held"][-1] == 4
    assert found["feed/arrived"] == sorted(found["feed/arrived"])
    lags = [values[-1] for name, values in found.items() if name.startswith("feed/lag/")]
    # Lists know no iterations.
    assert lags == ([2] if feed.stats.lag else [])
    times = script.export(records.address, "run", "feed/arrived")["run", "feed/arrived", 0]["x"]
    assert times.dtype == "float64"


def test_one_argument_is_enough_and_the_experiment_names_the_scope(producer, make_feed, records, monkeypatch):
    producer.put(numbers(1, 2, 3))
    with make_feed(monitor=True) as alone:
        one_pass(alone)
    monkeypatch.setenv("SMARTML_MONITOR_SCOPE", "experiment")
    monkeypatch.setenv("SMARTML_ENTITY", "trainer")
    feed = make_feed(monitor=True)
    one_pass(feed)
    feed.close()
    with DataLogger() as log:
        log.write("loss", x=1, y=0.5)

    assert script.scopes(records.address) == ["feed", "experiment/trainer"]
    names = script.names(records.address, "experiment/trainer")
    assert {"feed/arrived", "feed/used", "loss"} <= set(names)


def test_what_is_no_logger_is_refused(make_plain_feed):
    with pytest.raises(ArgumentTypeError, match="monitor must be True or a DataLogger"):
        make_plain_feed(sample_prefix="points", monitor="yes", init_samples=False)
