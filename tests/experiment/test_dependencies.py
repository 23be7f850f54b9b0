"""Programs that wait for others, for a database, or for data, before they start."""

import os
import threading

import numpy as np
import pytest
from servers import wait_until

from smartml import Client, Dataset
from smartml.errors import ArgumentTypeError, ArgumentValueError, DependencyError, NotStartedError
from smartml.experiment import Orchestrator
from smartml.store.entities import read_entities

UNTIL_GO = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.005)"
FAIL = "raise SystemExit(3)"


def go(model):
    open(f"{model.path}/go", "w").close()


def started(model):
    return os.path.exists(f"{model.path}/{model.name}.out")


def test_a_program_starts_when_the_other_has_completed(exp, program):
    first, then = program(UNTIL_GO, "first"), program("print('then')", "then")
    then.start_after(first)
    exp.start(first, then, block=False)
    assert exp.get_status(first, then) == ["Running", "New"]
    assert not started(then) and not exp.finished(then)
    go(first)
    assert exp.wait(then, timeout_s=30)
    assert exp.get_status(first, then) == ["Completed", "Completed"]


def test_the_order_in_which_they_are_handed_over_does_not_matter(exp, program):
    last, middle, first = program("pass", "last"), program("pass", "middle"), program("pass", "first")
    last.start_after(middle)
    middle.start_after(first)
    exp.start(last, middle, first)
    assert exp.get_status(last, middle, first) == ["Completed"] * 3
    begins = [os.path.getctime(f"{model.path}/{model.name}.out") for model in (first, middle, last)]
    assert begins == sorted(begins)


def test_a_program_starts_when_the_other_has_started(exp, program):
    first, then = program(UNTIL_GO, "first"), program("pass", "then")
    then.start_after(first, when="started")
    exp.start(then, first, block=False)
    assert exp.wait(then, timeout_s=30)
    assert exp.get_status(first) == ["Running"]


def test_a_program_starts_when_the_other_has_ended_in_whatever_way(exp, program):
    first, then = program(FAIL, "first"), program("pass", "then")
    then.start_after(first, when="ended")
    exp.start(then, first)
    assert exp.get_status(first, then) == ["Failed", "Completed"]


def test_a_program_waits_for_all_members_of_an_ensemble(exp, program):
    settings = exp.create_run_settings("python", ["-c", UNTIL_GO])
    ensemble, then = exp.create_ensemble("ens", run_settings=settings, replicas=3), program("pass", "then")
    then.start_after(ensemble)
    exp.start(ensemble, then, block=False)
    for model in ensemble:
        assert exp.get_status(then) == ["New"]
        go(model)
    assert exp.wait(then, timeout_s=30)


def test_members_of_an_ensemble_may_wait(exp, program):
    first = program(UNTIL_GO, "first")
    ensemble = exp.create_ensemble("ens", run_settings=exp.create_run_settings("true"), replicas=2)
    ensemble.start_after(first)
    exp.start(ensemble, first, block=False)
    assert exp.get_status(ensemble) == ["New", "New"]
    go(first)
    assert exp.wait(ensemble, timeout_s=30)


def test_a_program_that_was_started_before_can_be_waited_for(exp, program):
    first, then = program("pass", "first"), program("pass", "then")
    exp.start(first)
    then.start_after(first)
    exp.start(then)
    assert exp.get_status(then) == ["Completed"]


def test_a_program_that_will_be_started_again_has_not_failed_yet(exp, program, tmp_path):
    code = "import os, sys; found = os.path.exists('x'); open('x', 'w'); sys.exit(not found)"
    first = exp.create_model("first", exp.create_run_settings("python", ["-c", code]), restarts=1, restart_delay_s=0.05)
    then = program("pass", "then")
    then.start_after(first)
    exp.start(first, then)
    assert exp.get_status(first, then) == ["Completed", "Completed"]


def test_what_can_never_come_cancels_all_that_wait_and_says_why(exp, program, caplog):
    first, then, last = program(FAIL, "first"), program("pass", "then"), program("pass", "last")
    then.start_after(first)
    last.start_after(then)
    exp.start(first, then, last)
    assert exp.get_status(first, then, last) == ["Failed", "Cancelled", "Cancelled"]
    assert "then is not started: 'then' waits for 'first' to complete, and that one is Failed" in caplog.text
    assert "last is not started: 'last' waits for 'then' to complete, and that one was never started" in caplog.text
    assert not started(then)


def test_what_can_be_known_before_is_known_before_anything_starts(exp, program):
    first, then = program("pass", "first"), program("pass", "then")
    then.start_after(first)
    with pytest.raises(DependencyError, match="'then' waits for 'first', which nobody starts"):
        exp.start(then)
    first.start_after(then)
    with pytest.raises(DependencyError, match="'first', 'then' wait for each other"):
        exp.start(first, then)
    assert exp.get_status(first, then) == ["NeverStarted", "NeverStarted"]
    with pytest.raises(NotStartedError):
        exp.wait(then)


def test_a_program_that_waits_can_be_stopped_and_started_again(exp, program):
    first, then = program(UNTIL_GO, "first"), program("pass", "then")
    then.start_after(first)
    exp.start(first, then, block=False)
    exp.stop(then)
    assert exp.get_status(first, then) == ["Running", "Cancelled"]
    exp.start(then, block=False)
    go(first)
    assert exp.wait(then, timeout_s=30)
    assert exp.get_status(then) == ["Completed"]


def test_stopping_all_starts_nothing_that_waited(exp, program):
    first, then = program(UNTIL_GO, "first"), program("pass", "then")
    then.start_after(first, when="ended")
    exp.start(first, then, block=False)
    exp.stop()
    assert exp.get_status(first, then) == ["Cancelled", "Cancelled"]
    assert not started(then)


def test_a_program_has_all_that_it_waits_for(exp, program):
    one, other, then = program(UNTIL_GO, "one"), program(UNTIL_GO, "other"), program("pass", "then")
    then.start_after(one)
    then.start_after(other)
    exp.start(one, other, then, block=False)
    go(one)
    exp.wait(one, timeout_s=30)
    assert exp.get_status(then) == ["New"]
    go(other)
    assert exp.wait(then, timeout_s=30)


def test_waiting_has_an_end_where_one_is_set(exp, program, caplog):
    first, then = program(UNTIL_GO, "first"), program("pass", "then")
    then.start_after(first, timeout_s=0.1)
    exp.start(first, then, block=False)
    assert exp.wait(then, timeout_s=30)
    assert exp.get_status(first, then) == ["Running", "Cancelled"]
    assert "'then' has waited 0.1 s for first to complete" in caplog.text


def test_an_end_of_waiting_is_each_one_s_own(exp, program):
    first, second, then = program("pass", "first"), program(UNTIL_GO, "second"), program("pass", "then")
    then.start_after(first, timeout_s=0.5)
    then.start_after(second)
    exp.start(first, second, then, block=False)
    assert exp.wait(first, timeout_s=30)
    assert not exp.wait(then, timeout_s=0.8)
    go(second)
    assert exp.wait(then, timeout_s=30)
    assert exp.get_status(then) == ["Completed"]


def put_tensor(client):
    client.put_tensor("points", np.zeros(3))


def put_dataset(client):
    dataset = Dataset("points")
    dataset.add_meta_scalar("step", 1)
    client.put_dataset(dataset)


def append_to_list(client):
    dataset = Dataset("other")
    dataset.add_meta_scalar("step", 1)
    client.put_dataset(dataset)
    client.append_to_list("points", dataset)


@pytest.mark.parametrize("put", [put_tensor, put_dataset, append_to_list])
def test_a_program_starts_when_the_first_data_is_there(exp, program, put):
    db, then = exp.create_database(port=0), program("pass", "then")
    then.start_after("points")
    exp.start(db, then, block=False)
    with Client(address=db.address) as client:
        client.put_tensor("pointless", np.zeros(3))
        assert not exp.wait(then, timeout_s=0.3)
        assert exp.get_status(then) == ["New"]
        assert read_entities(client.database)["then"].status == "New"
        put(client)
    assert exp.wait(then, timeout_s=30)
    assert exp.get_status(then) == ["Completed"]


PUT = "import sys, numpy; from smartml import Client; Client().put_tensor('points', numpy.zeros(3))"


def test_the_trainer_starts_when_its_producer_has_put_the_first_batch(exp, program):
    producer, trainer = program(PUT, "producer"), program("print('trained')", "trainer")
    producer.enable_key_prefixing()
    trainer.register_incoming_entity(producer)
    trainer.start_after("points")
    exp.start(exp.create_database(port=0), trainer, producer)
    assert exp.get_status(producer, trainer) == ["Completed", "Completed"]


def test_data_that_nobody_puts_any_more_never_comes(exp, program, caplog):
    producer, trainer = program("import time; time.sleep(0.2)", "producer"), program("pass", "trainer")
    bystander = program(UNTIL_GO, "bystander")
    trainer.register_incoming_entity(producer)
    trainer.start_after("points")
    exp.start(exp.create_database(port=0), trainer, producer, bystander, block=False)
    assert exp.wait(trainer, timeout_s=30)
    assert exp.get_status(trainer) == ["Cancelled"]
    assert "waits for 'points' in database 'orchestrator', and no program that could put it there runs" in caplog.text


def test_without_registered_producers_every_program_may_be_one(exp, program):
    one, other, then = program("pass", "one"), program(UNTIL_GO, "other"), program("pass", "then")
    then.start_after("points")
    exp.start(exp.create_database(port=0), one, other, then, block=False)
    exp.wait(one)
    assert not exp.wait(then, timeout_s=0.3)
    go(other)
    assert exp.wait(then, timeout_s=30)
    assert exp.get_status(then) == ["Cancelled"]


def test_data_without_a_database_is_an_error_before_anything_starts(exp, program):
    then = program("pass", "then")
    then.start_after("points", db_identifier="second")
    with pytest.raises(DependencyError, match="database 'second', which is not there; there are: 'orchestrator'"):
        exp.start(exp.create_database(port=0), then)


def test_a_program_may_wait_for_a_database_that_is_started_later(exp, program):
    db, then = exp.create_database(port=0), program("import os; print(os.environ['SSDB'])", "then")
    then.start_after(db)
    exp.start(then, block=False)
    assert not exp.wait(then, timeout_s=0.2)
    exp.start(db)
    assert exp.wait(then, timeout_s=30)
    with open(f"{then.path}/then.out") as file:
        assert file.read() == f"{db.address}\n"


def test_what_is_waited_for_is_told(exp, program, caplog):
    caplog.set_level("INFO")
    first, then = program(UNTIL_GO, "first"), program("pass", "then")
    then.start_after(first)
    exp.start(first, then, block=False)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in exp.summary().splitlines()]
    assert rows[3][1:] == ["then", "Model", "None", "1", "None", "New", "None"]
    poll = threading.Thread(target=exp.poll, args=(0.02,))
    poll.start()
    wait_until(lambda: "then: New, waits for first to complete" in caplog.text)
    go(first)
    poll.join()


def test_what_cannot_be_waited_for_is_refused(exp, program):
    model = program("pass")
    with pytest.raises(ArgumentValueError, match="'program' cannot wait for itself"):
        model.start_after(model)
    with pytest.raises(ArgumentValueError, match="when='finished' is unknown; there are: 'completed', 'started'"):
        model.start_after(program("pass", "other"), when="finished")
    with pytest.raises(ArgumentTypeError, match="can wait for a Model, Ensemble, Orchestrator, or the name of data"):
        model.start_after(5)
    with pytest.raises(ArgumentTypeError, match="timeout_s"):
        model.start_after("points", timeout_s="1")
    assert model.dependencies == []


def test_a_database_that_hangs_holds_up_neither_the_start_nor_the_end_of_others(exp, program):
    with Orchestrator(port=0) as db:
        waiting, other = program("pass", "waiting"), program("pass", "other")
        waiting.start_after("points")
        exp.start(db, waiting, block=False)
        os.kill(db.pid, 19)
        try:
            exp.start(other, block=False)
            exp.stop(waiting)
            assert exp.wait(timeout_s=60)
        finally:
            os.kill(db.pid, 18)
