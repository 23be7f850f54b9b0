"""A feed whose database goes away, for good or for a moment."""

import os
import signal

import pytest
from servers import wait_until

from smartml import Client, Orchestrator
from smartml.errors import StoreConnectionError
from smartml.feeds import DataDownloader

from .conftest import numbers, one_pass


@pytest.fixture
def own_server():
    """A server of this test alone, and a function that kills it without warning."""
    db = Orchestrator(port=0)
    db.start()

    def kill():
        os.kill(db.pid, signal.SIGKILL)
        wait_until(lambda: not db.is_running)

    yield db, kill
    if db.is_running:
        db.stop()


@pytest.fixture
def restart(own_server):
    """Start another, empty server at the same address."""
    started = []

    def start():
        db = Orchestrator(port=own_server[0].port)
        db.start()
        started.append(db)

    yield start
    for db in started:
        db.stop()


def put(db, iteration, *values):
    with Client(address=db.address) as client:
        client.put_tensor(f"points_{iteration}", numbers(*values))


def test_a_server_that_dies_during_a_wait_is_named_and_the_feed_goes_on_when_it_is_back(
    own_server, restart, in_background
):
    db, kill = own_server
    feed = DataDownloader(
        sample_prefix="points", batch_size=2, shuffle=False, init_samples=False, address=db.address, wait_timeout_s=60
    )
    put(db, 0, 1)
    feed.update_data()

    in_background(kill)
    with pytest.raises(StoreConnectionError, match=db.address):
        feed.init_samples()
    assert feed.num_samples == 1

    restart()
    put(db, 1, 2)

    assert one_pass(feed) == [[1, 2]]
    feed.close()


def test_what_is_held_can_be_used_without_a_server(own_server):
    db, kill = own_server
    put(db, 0, 1, 2, 3, 4)
    feed = DataDownloader(sample_prefix="points", batch_size=2, shuffle=False, dynamic=False, address=db.address)

    kill()

    assert one_pass(feed) == [[1, 2], [3, 4]]
    feed.close()


def test_a_server_that_is_back_at_once_is_not_missed(own_server, restart):
    db, kill = own_server
    put(db, 0, 1, 2)
    feed = DataDownloader(sample_prefix="points", batch_size=2, shuffle=False, address=db.address)

    kill()
    restart()
    put(db, 1, 3, 4)

    assert one_pass(feed) == [[1, 2], [3, 4]]
    feed.close()
