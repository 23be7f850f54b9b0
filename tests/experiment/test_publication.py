"""Programs of an experiment learn of each other through its database."""

import logging
import os
import signal
import sys

import pytest
from servers import wait_until

from smartml import Client
from smartml.experiment import Orchestrator
from smartml.store.entities import read_entities

FAIL = "raise SystemExit(3)"
SLEEP = "import time; time.sleep(100)"
LOOK = """
import os
from smartml import Client
from smartml.store.entities import read_entities
states = read_entities(Client().database)
print(os.environ["SMARTML_ENTITY"], states["looker"].status, states["looker"].prefix, states["other"].status)
"""


@pytest.fixture
def database():
    with Orchestrator(port=0) as db:
        yield db


def model(exp, name, code, **options):
    return exp.create_model(name, exp.create_run_settings(sys.executable, ["-c", code]), **options)


def states(database):
    with Client(address=database.address) as client:
        return {name: state.status for name, state in read_entities(client.database).items()}


def test_a_program_knows_its_name_and_how_others_are(exp, database):
    other = model(exp, "other", FAIL)
    exp.start(database, other)
    looker = model(exp, "looker", LOOK, enable_key_prefixing=True)
    exp.start(looker)

    with open(f"{looker.path}/looker.out") as file:
        assert file.read() == "looker Running looker Failed\n"
    assert states(database) == {"other": "Failed", "looker": "Completed"}


def test_a_program_that_is_stopped_and_started_again_is_seen(exp, database):
    sleeper = model(exp, "sleeper", SLEEP)
    exp.start(database, sleeper, block=False)
    assert states(database) == {"sleeper": "Running"}
    exp.stop(sleeper)
    assert states(database) == {"sleeper": "Cancelled"}
    exp.start(sleeper, block=False)
    assert states(database) == {"sleeper": "Running"}


def test_every_database_is_told(exp, database):
    with Orchestrator(port=0, db_identifier="second") as second:
        exp.start(database, second, model(exp, "a", "pass"))
        assert states(database) == states(second) == {"a": "Completed"}


def test_a_database_that_cannot_be_told_harms_nothing(exp, database, caplog):
    sleeper = model(exp, "sleeper", "input()")
    with Client(address=database.address) as client:
        # A key of another kind is in the way.
        client.database.command("SET", b".smartml.entities", b"x")
    with caplog.at_level(logging.WARNING):
        exp.start(database, sleeper)
    assert exp.get_status(sleeper) == ["Failed"]
    wait_until(lambda: "orchestrator does not learn that sleeper is Failed" in caplog.text)


def test_a_database_that_hung_is_told_when_it_answers_again(exp, database, caplog):
    sleeper, others = model(exp, "sleeper", SLEEP), [model(exp, f"other{index}", "pass") for index in range(3)]
    exp.start(database, sleeper, block=False)
    os.kill(database.pid, signal.SIGSTOP)
    try:
        exp.stop(sleeper)
        # The first to wait for it has waited for all.
        exp.start(*others)
        assert caplog.text.count("does not learn") <= 2
    finally:
        os.kill(database.pid, signal.SIGCONT)
    names = ("sleeper", "other0", "other1", "other2")
    ended = dict(zip(names, ["Cancelled", "Completed", "Completed", "Completed"], strict=True))
    wait_until(lambda: states(database) == ended)
