"""A worker answers what solvers put into the store."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from servers import Cluster, Server, find_free_port, wait_until

from smartml import Client
from smartml.errors import ArgumentValueError
from smartml.serving import Predictor, StoreWorker
from smartml.serving.reload import CheckpointWatch

from .runs import Run, sample_for


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose model takes an array."""
    made = Run(tmp_path_factory.mktemp("run"), inputs=("field",), outputs=("later", "verdict"))
    made.save(10, 0.5)
    return made


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor.load(run.folder.path)


@contextlib.contextmanager
def working(*arguments, **options):
    """Let a worker run in a thread."""
    worker = StoreWorker(*arguments, **options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


def fields(count, number=0):
    return np.stack([sample_for(["field"], number + one)["field"] for one in range(count)])


def expected(predictor, tensor):
    return np.stack([answer["later"] for answer in predictor.predict([{"field": row} for row in tensor])])


def wait_for(client, name):
    wait_until(lambda: client.tensor_exists(name))
    return client.get_tensor(name)


def test_a_question_is_answered_under_its_number_and_taken_away(client, predictor):
    with working(predictor, client) as worker:
        client.put_tensor("field_3_17", fields(5))

        later = wait_for(client, "later_3_17")

    np.testing.assert_allclose(later, expected(predictor, fields(5)), rtol=1e-4)
    assert later.dtype == np.float32
    assert client.get_tensor("verdict_Outcome_3_17").shape == (5, 2)
    assert client.get_tensor("verdict_speed_3_17").shape == (5,)
    assert not client.tensor_exists("field_3_17") and not client.tensor_exists("field_error_3_17")
    assert (worker.answered, worker.failed) == (1, 0)


def test_questions_of_many_ranks_are_answered_together(client, predictor):
    questions = {f"field_{rank}_{iteration}": fields(2, rank) for rank in range(8) for iteration in range(3)}
    client.put_tensors(questions)
    worker = StoreWorker(predictor, client)

    assert worker.answer_waiting() == 24
    assert worker.answer_waiting() == 0
    for name, tensor in questions.items():
        answer = client.get_tensor(name.replace("field", "later"))
        np.testing.assert_allclose(answer, expected(predictor, tensor), rtol=1e-4)


def test_a_solver_asks_in_its_loop(client, predictor):
    with working(predictor, client):
        for iteration in range(0, 120, 3):
            state = fields(2, iteration)
            client.put_tensor(f"field_{iteration}", state)
            later = wait_for(client, f"later_{iteration}")
            client.delete_tensor(f"later_{iteration}")
            np.testing.assert_allclose(later, expected(predictor, state), rtol=1e-4)


def test_a_name_may_be_used_again_when_it_was_answered(client, predictor):
    with working(predictor, client) as worker:
        for number in range(60):
            client.put_tensor("field_0_0", fields(1, number))
            np.testing.assert_allclose(wait_for(client, "later_0_0"), expected(predictor, fields(1, number)), rtol=1e-4)
            for name in ("later_0_0", "verdict_Outcome_0_0", "verdict_speed_0_0"):
                client.delete_tensor(name)
    assert worker.answered == 60


def test_questions_that_are_kept_are_answered_once(client, predictor):
    with working(predictor, client, keep_questions=True) as worker:
        for iteration in range(20):
            client.put_tensor(f"field_1_{iteration}", fields(1))
        wait_for(client, "later_1_19")
        # One more, found by looking through all keys.
        client.put_tensor("field_7_500", fields(1))
        wait_for(client, "later_7_500")
    assert worker.answered == 21
    assert all(client.tensor_exists(f"field_1_{iteration}") for iteration in range(20))


def test_names_that_only_begin_alike_are_left_alone(client, predictor):
    names = ["field", "field_x_1", "field_1_2_3", "field_one", "fieldx_1", "other_field_1", "field_error_0_1"]
    client.put_tensors({name: fields(1) for name in names})
    client.put_tensor("field_5", fields(1))
    assert StoreWorker(predictor, client).answer_waiting() == 1
    assert all(client.tensor_exists(name) for name in names) and client.tensor_exists("later_5")


def test_inputs_may_have_other_names_even_odd_ones(client, predictor):
    odd = "a*b [c]?\\"
    client.put_tensor(f"{odd}_2_1", fields(1))
    client.put_tensor("axb [c]?\\_2_1", fields(1))
    assert StoreWorker(predictor, client, prefixes={"field": odd}).answer_waiting() == 1
    assert client.tensor_exists("later_2_1") and not client.tensor_exists(f"{odd}_2_1")


WRONG = {
    "another shape": (np.zeros((2, 3, 4), np.float32), "takes numbers, (samples, 4, 3)"),
    "no samples": (np.zeros((0, 4, 3), np.float32), "axis 0 has to count samples"),
    "no axis": (np.float32(1), "axis 0 has to count samples"),
    "complex numbers": (np.zeros((1, 4, 3), np.complex64), "complex64"),
    "NaN": (np.full((1, 4, 3), np.nan, np.float32), "NaN"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_answered_is_answered_by_the_reason(client, predictor, case):
    tensor, words = WRONG[case]
    client.put_tensors({"field_0_1": tensor, "field_1_1": fields(1)})
    worker = StoreWorker(predictor, client)

    assert worker.answer_waiting() == 2

    reason = client.get_tensor("field_error_0_1")
    assert reason.dtype == np.uint8 and words in reason.tobytes().decode()
    assert client.tensor_exists("later_1_1") and not client.tensor_exists("later_0_1")
    assert (worker.answered, worker.failed) == (2, 1)


def test_what_is_no_tensor_is_answered_by_the_reason(client, predictor):
    client.database.command("SET", "field_0_1", b"garbage" * 10)
    client.database.command("RPUSH", "field_0_2", b"a list")
    client.put_tensor("field_0_3", fields(1))

    assert StoreWorker(predictor, client).answer_waiting() == 3

    for iteration in (1, 2):
        assert b"field_0_" in client.get_tensor(f"field_error_0_{iteration}").tobytes()
    assert client.tensor_exists("later_0_3")


def test_a_question_of_several_inputs_waits_for_all_of_them(client, tmp_path):
    run = Run(tmp_path, inputs=("field", "raw", "facts"), outputs=("later",))
    predictor = Predictor.load(run.save(10, 0.5))
    worker = StoreWorker(predictor, client, prefixes={"raw": "frame"})
    client.put_tensor("field_0_1", fields(2))
    client.put_tensor("facts_0_1", np.array([[0, 1.5], [2, 3.0]]))
    assert worker.answer_waiting() == 0

    client.put_tensor("frame_0_1", np.arange(40, dtype=np.uint8).reshape(2, 20))

    assert worker.answer_waiting() == 1
    answers = predictor.predict(
        [
            {"field": fields(2)[0], "raw": bytes(range(20)), "facts": {"color": "blue", "height (m)": 1.5}},
            {"field": fields(2)[1], "raw": bytes(range(20, 40)), "facts": {"color": "red", "height (m)": 3.0}},
        ]
    )
    np.testing.assert_allclose(client.get_tensor("later_0_1"), [it["later"] for it in answers], rtol=1e-4)
    assert not any(client.tensor_exists(name) for name in ("field_0_1", "frame_0_1", "facts_0_1"))


def test_a_class_that_is_none_is_named(client, tmp_path):
    run = Run(tmp_path, inputs=("facts",), outputs=("later",))
    client.put_tensor("facts_0_1", np.array([[3, 1.5]]))
    StoreWorker(Predictor.load(run.save(10, 0.5)), client).answer_waiting()
    assert "column 'color': no class 3" in client.get_tensor("facts_error_0_1").tobytes().decode()


def test_entities_have_their_answers_beside_their_questions(client, predictor, monkeypatch):
    client.put_tensor("north.field_0_1", fields(1, 1))
    client.put_tensor("south.field_0_1", fields(1, 2))
    client.put_tensor("field_0_1", fields(1, 3))
    monkeypatch.setenv("SSKEYIN", "north,south")
    with Client() as own:
        assert StoreWorker(predictor, own).answer_waiting() == 2
    assert client.tensor_exists("north.later_0_1") and client.tensor_exists("south.later_0_1")
    assert not client.tensor_exists("later_0_1")


def test_models_of_texts_are_refused(client, tmp_path):
    run = Run(tmp_path, inputs=("note",), outputs=("later",))
    with pytest.raises(ArgumentValueError, match="the input 'note' of this model is sequence"):
        StoreWorker(Predictor.load(run.save(10, 0.5)), client)


def test_prefixes_of_unknown_inputs_are_refused(client, predictor):
    with pytest.raises(ArgumentValueError, match="'fields' is no input of this model; its inputs are field"):
        StoreWorker(predictor, client, prefixes={"fields": "x"})


def test_a_better_checkpoint_answers_when_it_is_there(client, tmp_path):
    run = Run(tmp_path, inputs=("field",), outputs=("later",))
    first = run.save(10, 0.5, seed=1)
    predictor = Predictor.load(first)
    watch = CheckpointWatch(predictor)
    with working(predictor, client, watch=watch, reload_interval_s=0.02) as worker:
        client.put_tensor("field_0_1", fields(1))
        before = wait_for(client, "later_0_1")
        better = run.save(20, 0.75, seed=2)
        wait_until(lambda: worker.predictor.name == better.name)
        client.put_tensor("field_0_2", fields(1))
        after = wait_for(client, "later_0_2")
    assert not np.allclose(before, after)


def test_a_database_that_goes_away_is_waited_for(tmp_path, predictor):
    port = find_free_port()
    server = Server(tmp_path, port=port).start()
    try:
        with Client(address=f"127.0.0.1:{port}", cluster=False, connect_timeout_s=0.5) as own, working(predictor, own):
            own.put_tensor("field_0_1", fields(1))
            wait_for(own, "later_0_1")
            server.kill()
            time.sleep(0.1)
            server.start()
            with Client(address=f"127.0.0.1:{port}") as solver:
                solver.put_tensor("field_0_2", fields(1))
                wait_for(solver, "later_0_2")
    finally:
        server.kill()


def test_a_cluster_is_served(tmp_path, predictor):
    with Cluster(tmp_path) as cluster, Client(cluster=True, address=cluster.address) as own, working(predictor, own):
        for iteration in range(10):
            own.put_tensors({f"field_{rank}_{iteration}": fields(1, rank) for rank in range(4)})
            for rank in range(4):
                answer = wait_for(own, f"later_{rank}_{iteration}")
                np.testing.assert_allclose(answer, expected(predictor, fields(1, rank)), rtol=1e-4)


SOLVER = """
import sys
import numpy as np
from smartml import Client

rank = int(sys.argv[1])
with Client() as client:
    for iteration in range(30):
        state = np.full((2, 4, 3), rank + iteration / 10, np.float32)
        client.put_tensor(f"field_{rank}_{iteration}", state)
        assert client.poll_tensor(f"later_{rank}_{iteration}", 1, 20000)
        assert client.get_tensor(f"later_{rank}_{iteration}").shape == (2, 4, 3)
"""


def test_a_worker_that_is_killed_and_started_again_loses_no_question(client, server, run, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        "import sys\nfrom smartml import Client\nfrom smartml.serving import Predictor, StoreWorker\n"
        "StoreWorker(Predictor.load(sys.argv[1]), Client()).run()\n"
    )

    def start():
        command = [sys.executable, script, str(run.folder.path)]
        return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})

    solvers = [subprocess.Popen([sys.executable, "-c", SOLVER, str(rank)]) for rank in range(2)]
    worker = start()
    try:
        wait_for(client, "later_0_3")
        worker.kill()
        worker.wait()
        worker = start()
        assert [solver.wait(60) for solver in solvers] == [0, 0]
    finally:
        for process in (worker, *solvers):
            process.kill()
            process.wait()
