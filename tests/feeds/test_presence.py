"""When a stream is over: told by the experiment that runs the producers, or by uploaders that are closed."""

import os
import signal
import sys
from pathlib import Path

import pytest
from servers import wait_until

from smartml import Client, Experiment, Orchestrator
from smartml.errors import ArgumentValueError
from smartml.feeds import DataInfo, TrainingDataUploader
from smartml.store.entities import EntityState, publish_entity

from .conftest import flat, numbers, one_pass

BY_LIST = {"data_info_or_list_name": DataInfo("training", "points", None)}
BY_KEY = {"sample_prefix": "points"}


@pytest.fixture
def tell(client):
    """Play the experiment that notes how programs are."""

    def tell(name, status, prefix=""):
        publish_entity(client.database, EntityState(name, status, prefix))

    return tell


def uploader(close_later):
    return close_later(TrainingDataUploader("training", "points", None))


# By uploaders


def test_a_feed_is_finished_when_all_uploaders_are_closed_and_all_is_taken(make_plain_feed, close_later):
    feed = make_plain_feed(**BY_LIST, init_samples=False)
    assert not feed.finished
    first, second = uploader(close_later), uploader(close_later)
    first.put_batch(numbers(1, 2))
    second.put_batch(numbers(3, 4))
    assert not feed.finished

    first.close()
    assert not feed.finished
    second.put_batch(numbers(5, 6))
    second.close()

    assert feed.finished
    assert sorted(flat(one_pass(feed))) == [1, 2, 3, 4, 5, 6]


def test_an_uploader_that_is_used_again_is_not_closed_any_more(make_plain_feed, close_later):
    again = uploader(close_later)
    again.put_batch(numbers(1, 2))
    again.close()
    feed = make_plain_feed(**BY_LIST)
    assert feed.finished
    again.put_batch(numbers(3, 4))
    assert not feed.finished


def test_the_uploader_of_a_program_that_died_has_ended(make_plain_feed, close_later, tell, monkeypatch):
    monkeypatch.setenv("SMARTML_ENTITY", "simulation")
    died = uploader(close_later)
    died.put_batch(numbers(1, 2))
    monkeypatch.setenv("SMARTML_ENTITY", "trainer")
    feed = make_plain_feed(**BY_LIST)

    tell("simulation", "Running")
    assert not feed.finished
    tell("simulation", "Failed")
    assert feed.finished


def test_a_program_that_goes_on_after_closing_its_uploader_is_not_waited_for(
    make_plain_feed, close_later, tell, monkeypatch
):
    tell("simulation", "Running")
    monkeypatch.setenv("SMARTML_ENTITY", "simulation")
    with uploader(close_later) as made:
        made.put_batch(numbers(1, 2))
    monkeypatch.setenv("SMARTML_ENTITY", "trainer")

    assert make_plain_feed(**BY_LIST).finished


def test_an_uploader_is_noted_in_a_full_database(client, make_plain_feed, close_later):
    made = uploader(close_later)
    made.put_batch(numbers(1, 2))
    client.database.command("CONFIG SET", "maxmemory", "1")
    try:
        made.close()
        assert make_plain_feed(**BY_LIST).finished
    finally:
        client.database.command("CONFIG SET", "maxmemory", "0")


def test_an_uploader_that_outlives_its_database_says_so_and_closes(monkeypatch, caplog):
    with Orchestrator(port=0) as db:
        monkeypatch.setenv("SSDB", db.address)
        monkeypatch.setenv("SR_DB_TYPE", "Standalone")
        made = TrainingDataUploader("training", "points", None)
        made.put_batch(numbers(1, 2))
    made.close()
    assert "trainers of training do not learn that this uploader is closed: no database answers" in caplog.text


# By programs


def test_a_feed_by_key_is_finished_when_the_programs_of_its_prefix_have_ended(
    client, make_plain_feed, tell, monkeypatch
):
    monkeypatch.setenv("SSKEYIN", "producer_0,producer_1")
    for number in range(2):
        client.database.set_values({})
        monkeypatch.setenv("SSKEYOUT", f"producer_{number}")
        with Client() as own:
            own.put_tensor("points_0", numbers(number, number))
    feed = make_plain_feed(**BY_KEY)
    assert not feed.finished

    tell("producer_0", "Completed", "producer_0")
    # Not started yet: nothing is known of it.
    assert not feed.finished
    tell("producer_1", "Running", "producer_1")
    assert not feed.finished
    tell("producer_1", "Cancelled", "producer_1")
    assert feed.finished
    tell("producer_0", "Running", "producer_0")
    assert not feed.finished


def test_programs_with_feeds_of_their_own_are_no_producers(client, make_plain_feed, tell, monkeypatch):
    client.put_tensor("points_0", numbers(1, 2))
    for name in ("simulation", "trainer", "other trainer"):
        tell(name, "Running")
    monkeypatch.setenv("SMARTML_ENTITY", "other trainer")
    make_plain_feed(**BY_KEY)
    monkeypatch.setenv("SMARTML_ENTITY", "trainer")
    feed = make_plain_feed(**BY_KEY)

    assert not feed.finished
    tell("simulation", "Completed")
    assert feed.finished


# Epochs


def test_epochs_end_with_one_over_everything(client, make_plain_feed, tell):
    tell("simulation", "Running")
    client.put_tensor("points_0", numbers(1, 2))
    feed = make_plain_feed(**BY_KEY)
    seen = []
    for epoch in feed.epochs(until="producers_done"):
        seen.append(sorted(flat(one_pass(feed))))
        if epoch == 1:
            client.put_tensor("points_1", numbers(3, 4))
            tell("simulation", "Completed")
    assert seen == [[1, 2], [1, 2], [1, 2, 3, 4]]


def test_epochs_are_counted(client, make_plain_feed, tell):
    client.put_tensor("points_0", numbers(1, 2))
    feed = make_plain_feed(**BY_KEY)
    assert list(feed.epochs(max_epochs=3)) == [0, 1, 2]
    assert list(feed.epochs(max_epochs=3, until="producers_done")) == [0, 1, 2]
    tell("simulation", "Completed")
    assert list(feed.epochs(max_epochs=3, until="producers_done")) == [0]


@pytest.mark.parametrize("arguments", [{}, {"until": "tomorrow"}, {"max_epochs": 3, "until": "tomorrow"}])
def test_epochs_have_an_end(client, make_plain_feed, arguments):
    feed = make_plain_feed(**BY_KEY, init_samples=False)
    with pytest.raises(ArgumentValueError, match="epochs end after max_epochs, or until='producers_done'"):
        list(feed.epochs(**arguments))


def test_what_a_bounded_feed_has_no_room_for_yet_is_waited_for(client, make_plain_feed, tell):
    for iteration in range(4):
        client.put_tensor(f"points_{iteration}", numbers(2 * iteration, 2 * iteration + 1))
    tell("simulation", "Completed")
    feed = make_plain_feed(**BY_KEY, capacity=4, policy="firo")
    used = set()
    for _ in feed.epochs(until="producers_done", max_epochs=20):
        used |= set(flat(one_pass(feed)))
    assert used == set(range(8))


# Real programs

PRODUCER = """
import itertools, os, sys, time
import numpy as np
from smartml import Client
print(os.getpid(), flush=True)
client = Client()
for iteration in itertools.count():
    client.put_tensor(f"points_{iteration}", np.full(2, iteration))
    time.sleep(0.01)
"""
TRAINER = """
from smartml import Client
from smartml.feeds import DataDownloader
feed = DataDownloader(sample_prefix="points", batch_size=2, wait_timeout_s=60)
for epoch in feed.epochs(until="producers_done"):
    served = sum(1 for batch in feed)
    print("epoch", epoch, flush=True)
put = sum(1 for _ in feed.client.database.scan(b"points_*"))
print(f"served {served} of {put}")
"""


def test_a_trainer_ends_by_itself_when_its_producer_was_killed(tmp_path):
    experiment = Experiment("end", exp_path=tmp_path)
    models = [
        experiment.create_model(name, experiment.create_run_settings(sys.executable, ["-c", text]))
        for name, text in (("producer", PRODUCER), ("trainer", TRAINER))
    ]
    producer, trainer = models
    experiment.start(Orchestrator(port=0), *models, block=False)
    try:
        wait_until(lambda: "epoch 3" in Path(trainer.path, "trainer.out").read_text())
        os.kill(int(Path(producer.path, "producer.out").read_text()), signal.SIGKILL)
        assert experiment.wait(trainer, timeout_s=60)
    finally:
        experiment.stop()

    assert experiment.get_status(producer, trainer) == ["Failed", "Completed"]
    last = Path(trainer.path, "trainer.out").read_text().splitlines()[-1].split()
    assert last[1] == last[3] != "0"


RESTARTED = """
import os, sys, time
import numpy as np
from smartml import Client
client = Client()
first = not client.tensor_exists("points_0")
for iteration in (0, 1) if first else (2, 3):
    client.put_tensor(f"points_{iteration}", np.full(2, iteration))
    time.sleep(0.2)
sys.exit(first)
"""


def test_a_trainer_goes_on_while_its_producer_is_about_to_be_started_again(tmp_path):
    experiment = Experiment("again", exp_path=tmp_path)
    settings = experiment.create_run_settings(sys.executable, ["-c", RESTARTED])
    producer = experiment.create_model("producer", settings, restarts=1, restart_delay_s=1)
    trainer = experiment.create_model("trainer", experiment.create_run_settings(sys.executable, ["-c", TRAINER]))
    trainer.start_after("points_0")
    try:
        experiment.start(Orchestrator(port=0), producer, trainer)
    finally:
        experiment.stop()

    assert experiment.get_status(producer, trainer) == ["Completed", "Completed"]
    assert Path(trainer.path, "trainer.out").read_text().splitlines()[-1] == "served 4 of 4"
