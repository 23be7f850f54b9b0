"""A database at its memory limit: what is put waits for room, what is deleted makes it."""

import logging
import pickle
import threading

import numpy as np
import pytest

from smartml import Client, Dataset
from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreFullError

LARGE = np.zeros(500_000)


def dataset(name="d", array=LARGE):
    made = Dataset(name)
    made.add_tensor("x", array)
    return made


@pytest.fixture
def full_server(start_server):
    """A server above its limit; without the dataset `old`, two thirds of what it holds, there is room again."""
    server = start_server()
    with Client(address=server.address) as client:
        client.put_tensor("old", LARGE)
        client.put_dataset(dataset("old", np.zeros(1_500_000)))
        client.config_set("maxmemory", "16mb", server.address)
    return server


PUTS = pytest.mark.parametrize(
    "put",
    [
        lambda client: client.put_tensor("t", LARGE),
        lambda client: client.put_tensors({"t": LARGE, "u": np.zeros(1)}),
        lambda client: client.copy_tensor("old", "t"),
        lambda client: client.put_dataset(dataset()),
        lambda client: client.append_to_list("l", dataset()),
    ],
    ids=["tensor", "tensors", "copy", "dataset", "append"],
)


@PUTS
def test_a_put_into_a_full_database_waits_until_there_is_room(put, full_server, caplog):
    with (
        Client(address=full_server.address) as client,
        Client(address=full_server.address) as other,
        caplog.at_level(logging.WARNING, "smartml.store"),
    ):
        deleter = threading.Timer(0.2, other.delete_dataset, ["old"])
        deleter.start()
        put(client)
        deleter.join()

    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert f"{full_server.address} uses " in warnings[0]
    assert "waiting up to 60 s for room" in warnings[0]


@PUTS
def test_a_put_that_waited_in_vain_says_how_full_it_is_and_what_to_do(put, full_server):
    with (
        Client(address=full_server.address, full_timeout_s=0.05) as client,
        pytest.raises(StoreFullError) as caught,
    ):
        put(client)

    assert f"the database is full: {full_server.address} uses " in str(caught.value)
    assert "no room came within 0.05 s" in str(caught.value)
    for advice in ("delete_after", "max_pending", "maxmemory"):
        assert advice in str(caught.value)


def test_a_put_in_vain_leaves_what_is_there_as_it_was(full_server):
    with Client(address=full_server.address, full_timeout_s=0) as client:
        with pytest.raises(StoreFullError):
            client.put_dataset(Dataset.from_stored("old", {"y": LARGE}, {}))

        assert client.get_dataset("old").get_tensor_names() == ["x"]


def test_a_full_database_can_be_emptied(full_server):
    with Client(address=full_server.address, full_timeout_s=0) as client:
        client.delete_tensor("old")
        client.config_set("maxmemory", "1", full_server.address)
        client.delete_dataset("old")

        assert list(client.database.scan(b"*")) == []


def test_the_time_to_wait_travels_with_a_client(full_server):
    with (
        Client.from_url(f"redis://{full_server.address}", full_timeout_s=0.01) as client,
        pickle.loads(pickle.dumps(client)) as other,
        pytest.raises(StoreFullError, match=r"within 0\.01 s"),
    ):
        other.put_tensor("t", LARGE)


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ArgumentValueError), (float("nan"), ArgumentValueError), ("1", ArgumentTypeError)]
)
def test_a_time_to_wait_that_makes_no_sense_is_refused(value, error):
    with pytest.raises(error, match="full_timeout_s must be"):
        Client(address="127.0.0.1:1", full_timeout_s=value)
