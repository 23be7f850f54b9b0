"""How the server hands calls to workers, seen by a worker that the test plays itself."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from smartml import tensors
from smartml.inference.calls import read_calls

DEADLINE_S = 20
ONE = np.array([[1, 2]], "f4")
WORK = "SMARTML.INFERENCE"


def value_of(array):
    payload, description = tensors.encode(array)
    return bytes(payload) + description


def outputs(call, *arrays):
    return (call.id, 7, len(arrays), *map(value_of, arrays))


def error(call, text):
    return (call.id, 7, -1, text)


class PlayedWorker:
    """A connection that works as the test says."""

    def __init__(self, port):
        self._connection = redis.Connection(port=port, socket_timeout=DEADLINE_S, protocol=2)
        self._connection.connect()

    def send(self, *results):
        self._connection.send_command(WORK, *results)

    def receive(self):
        return read_calls(self._connection.read_response())

    def take(self, *results):
        self.send(*results)
        return self.receive()

    def die(self):
        self._connection.disconnect()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(24) as threads:
        yield threads


@pytest.fixture
def workers(server):
    """Connect workers; they are gone when the test is."""
    connected = []

    def connect():
        connected.append(PlayedWorker(server.port))
        return connected[-1]

    yield connect
    for worker in connected:
        worker.die()


@pytest.fixture
def call(raw, server, pool):
    """Run a command in the background, as a client of its own."""

    def run(*words):
        # Once, whatever happens.
        retry = Retry(NoBackoff(), 0)
        with redis.Redis(port=server.port, socket_timeout=DEADLINE_S, retry=retry) as client:
            return client.execute_command(*words)

    def call(text, *more):
        return pool.submit(run, *text.split(), *more)

    return call


@pytest.fixture
def blocked(raw, eventually):
    """Wait until so many clients wait for an answer."""

    def until(number):
        eventually(lambda: raw.info("clients")["blocked_clients"] == number)

    return until


@pytest.fixture
def model(raw, client):
    """A model `m`, made by `model("BATCHSIZE", 4)`, and an input `a`."""

    def store(*options):
        raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", *options, "BLOB", b"weights")
        client.put_tensor("a", ONE)

    return store


def text_of(future):
    with pytest.raises(redis.ResponseError) as caught:
        future.result(DEADLINE_S)
    return str(caught.value)


def run(number=""):
    return f"AI.MODELEXECUTE m INPUTS 1 a{number} OUTPUTS 1 b{number}"


def test_a_call_goes_to_the_worker_that_waits_and_its_outputs_are_tensors(raw, client, model, workers, call, blocked):
    worker = workers()
    worker.send()
    blocked(1)
    model()
    # To be loaded before it is run.
    (load,) = worker.receive()
    assert (load.kind.name, load.model, load.inputs) == ("LOAD", b"m", ())

    worker.send(load.id, 7, 0)
    reply = call(run())
    (asked,) = worker.receive()
    assert (asked.kind.name, asked.model, asked.version, asked.output_count) == ("MODEL", b"m", load.version, 1)
    np.testing.assert_array_equal(asked.inputs[0], ONE, strict=True)
    assert not reply.done() and not raw.exists("b")

    worker.send(*outputs(asked, 2 * ONE))
    assert reply.result(DEADLINE_S) == b"OK"
    np.testing.assert_array_equal(client.get_tensor("b"), 2 * ONE, strict=True)


@pytest.fixture
def busy(model, workers, blocked, call):
    """A worker that has been given the call `c`, and so will hear nothing before it asks again."""

    def busy(*options, words=None):
        worker = workers()
        model(*options)
        worker.send()
        blocked(1)
        reply = call(words or run())
        calls = worker.receive()
        return worker, calls, reply

    return busy


def test_an_error_of_the_worker_reaches_the_client_in_one_line_and_nothing_is_written(raw, busy):
    worker, (asked,), reply = busy()

    worker.send(*error(asked, "ValueError: bad\nshape é"))

    # What other bytes there are, may be no text to the client.
    assert text_of(reply) == "ValueError: bad?shape ??"
    assert not raw.exists("b")


def test_a_script_gets_keys_words_and_inputs(raw, client, workers, call, blocked):
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "x")
    client.put_tensor("a", ONE)
    worker = workers()
    worker.send()
    blocked(1)

    reply = call("AI.SCRIPTEXECUTE s f KEYS 1 k INPUTS 2 a a ARGS 2 x y OUTPUTS 2 b c")
    (asked,) = worker.receive()

    assert (asked.kind.name, asked.function, asked.keys, asked.arguments) == ("ENTRY_POINT", "f", ("k",), ("x", "y"))
    assert (len(asked.inputs), asked.output_count) == (2, 2)
    worker.send(*outputs(asked, ONE, ONE))
    assert reply.result(DEADLINE_S) == b"OK"
    assert raw.exists("b", "c") == 2


def test_calls_wait_for_a_worker_and_are_run_together_up_to_the_batch_size(client, busy, call, blocked):
    worker, (first,), first_reply = busy("BATCHSIZE", 5)
    for number in range(7):
        client.put_tensor(f"a{number}", np.full((2 if number == 3 else 1, 2), number, "f4"))
    replies = []
    for number in range(7):
        replies.append(call(run(number)))
        blocked(number + 2)

    together = worker.take(*outputs(first, ONE))
    assert first_reply.result(DEADLINE_S) == b"OK"
    # One, one, one, two; not in front of those that came before.
    assert [int(asked.inputs[0][0, 0]) for asked in together] == [0, 1, 2, 3]
    rest = worker.take(*(word for asked in together for word in outputs(asked, asked.inputs[0] + 1)))
    assert [int(asked.inputs[0][0, 0]) for asked in rest] == [4, 5, 6]
    worker.send(*(word for asked in rest for word in outputs(asked, asked.inputs[0] + 1)))
    assert [reply.result(DEADLINE_S) for reply in replies] == [b"OK"] * 7
    assert [client.get_tensor(f"b{number}")[0, 0] for number in range(7)] == [1, 2, 3, 4, 5, 6, 7]


def test_without_a_batch_size_calls_are_run_one_by_one(busy, call, blocked):
    worker, (first,), _ = busy()
    replies = [call(run()) for _ in range(3)]
    blocked(4)

    asked = first
    for _ in range(3):
        (asked,) = worker.take(*outputs(asked, ONE))
    worker.send(*outputs(asked, ONE))
    assert [reply.result(DEADLINE_S) for reply in replies] == [b"OK"] * 3


def test_several_workers_share_the_calls(busy, workers, call, blocked):
    first, (asked,), reply = busy()
    second = workers()
    second.send()
    blocked(2)

    other = call(run())
    (taken,) = second.receive()

    assert taken.id != asked.id
    second.send(*outputs(taken, ONE))
    assert other.result(DEADLINE_S) == b"OK" and not reply.done()
    first.send(*outputs(asked, ONE))
    assert reply.result(DEADLINE_S) == b"OK"


def test_a_run_waits_until_there_are_enough_samples(model, workers, call, blocked):
    worker = workers()
    model("BATCHSIZE", 8, "MINBATCHSIZE", 3)
    worker.send()
    blocked(1)
    replies = [call(run()) for _ in range(2)]
    blocked(3)

    replies.append(call(run()))

    calls = worker.receive()
    assert len(calls) == 3
    worker.send(*(word for asked in calls for word in outputs(asked, ONE)))
    assert [reply.result(DEADLINE_S) for reply in replies] == [b"OK"] * 3


def test_a_run_waits_for_others_only_as_long_as_it_was_told(model, workers, call, blocked):
    worker = workers()
    model("BATCHSIZE", 8, "MINBATCHSIZE", 3, "MINBATCHTIMEOUT", 100)
    worker.send()
    blocked(1)

    reply = call(run())

    (asked,) = worker.receive()
    worker.send(*outputs(asked, ONE))
    assert reply.result(DEADLINE_S) == b"OK"


def test_others_are_not_held_up_by_a_run_that_waits_for_more(raw, model, workers, call, blocked):
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "x")
    worker = workers()
    model("BATCHSIZE", 8, "MINBATCHSIZE", 3)
    worker.send()
    blocked(1)
    late = call(run() + " TIMEOUT 300")
    blocked(2)

    reply = call("AI.SCRIPTRUN s f INPUTS a OUTPUTS b")

    (asked,) = worker.receive()
    assert asked.function == "f"
    worker.send(*outputs(asked, ONE))
    assert reply.result(DEADLINE_S) == b"OK"
    assert text_of(late).startswith("TIMEDOUT no answer")


def test_a_worker_that_dies_fails_its_calls_with_the_reason(raw, busy):
    worker, (_,), reply = busy()

    worker.die()

    assert text_of(reply).startswith("the inference worker died while it ran this model or script")
    assert not raw.exists("b")


def test_calls_that_nobody_will_run_any_more_fail_too(busy, call, blocked):
    worker, (_,), running = busy()
    waiting = call(run())
    blocked(2)

    worker.die()

    assert text_of(running).startswith("the inference worker died")
    assert text_of(waiting).startswith("no inference worker is connected")


def test_a_call_that_waits_is_run_by_another_worker_when_one_dies(busy, workers, call, blocked):
    first, (_,), running = busy()
    second = workers()
    second.send()
    blocked(2)

    first.die()

    assert text_of(running).startswith("the inference worker died")
    reply = call(run())
    (asked,) = second.receive()
    second.send(*outputs(asked, ONE))
    assert reply.result(DEADLINE_S) == b"OK"


def test_a_client_that_goes_while_it_waits_leaves_nothing_behind(raw, server, model, workers, blocked):
    model()
    worker = workers()
    worker.send()
    blocked(1)
    gone = redis.Connection(port=server.port, socket_timeout=DEADLINE_S)
    gone.connect()
    gone.send_command(*run().split())
    (asked,) = worker.receive()
    blocked(1)

    gone.disconnect()
    blocked(0)

    # Its result comes, and is for nobody; the worker goes on.
    worker.send(*outputs(asked, ONE))
    blocked(1)
    assert not raw.exists("b")


def test_a_client_that_goes_before_it_is_its_turn_is_not_run(raw, server, busy, call, blocked):
    worker, (first,), reply = busy()
    doomed = call(run())
    blocked(2)
    ids = sorted(int(it["id"]) for it in raw.client_list() if "b" in it["flags"])
    raw.client_kill_filter(_id=ids[-1])
    with pytest.raises(redis.ConnectionError):
        doomed.result(DEADLINE_S)
    last = call(run())
    blocked(2)

    (asked,) = worker.take(*outputs(first, ONE))

    assert asked.id == first.id + 2
    worker.send(*outputs(asked, ONE))
    assert (reply.result(DEADLINE_S), last.result(DEADLINE_S)) == (b"OK", b"OK")


def test_a_run_that_takes_longer_than_its_timeout_fails_and_writes_nothing(raw, busy, blocked):
    worker, (asked,), reply = busy(words=run() + " TIMEOUT 100")

    assert text_of(reply).startswith("TIMEDOUT no answer from the inference worker within the TIMEOUT of this call")
    worker.send(*outputs(asked, ONE))
    blocked(1)
    assert not raw.exists("b")


def test_inputs_that_go_while_a_call_waits_are_missed(raw, client, busy, call, blocked):
    worker, (first,), _ = busy()
    client.put_tensor("a1", ONE)
    reply = call(run(1))
    blocked(2)
    raw.delete("a1")

    worker.send(*outputs(first, ONE))

    assert text_of(reply) == "tensor key is empty or in a different shard"


def test_outputs_do_not_replace_what_is_no_tensor(raw, busy):
    raw.set("b", "plain")
    worker, (asked,), reply = busy()

    worker.send(*outputs(asked, ONE))

    assert text_of(reply).startswith("WRONGTYPE")
    assert raw.get("b") == b"plain"


def test_outputs_that_do_not_fit_are_refused(raw, busy):
    worker, (asked,), reply = busy()
    raw.config_set("maxmemory", 1)
    try:
        worker.send(*outputs(asked, ONE))
        assert text_of(reply).startswith("the outputs do not fit")
    finally:
        raw.config_set("maxmemory", 0)
    assert not raw.exists("b")


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ((7, 2, value_of(ONE), value_of(ONE)), "the call names 1 outputs, it gave 2"),
        ((7, 0), "the call names 1 outputs, it gave 0"),
        ((7, 1, b"no tensor"), "the inference worker sent an output that is no tensor"),
        ((7, 1, value_of(ONE)[:-9] + b"\xff" + value_of(ONE)[-8:]), "the inference worker sent an output that is no"),
    ],
    ids=["too many", "none", "no tensor", "damaged"],
)
def test_what_a_worker_sends_is_checked(busy, results, text):
    worker, (asked,), reply = busy()

    worker.send(asked.id, *results)

    assert text_of(reply).startswith(text)


NONSENSE = [("x",), (1,), (1, 7, 5, b"a"), (1, -7, 0), (1, 7, -2, b"a"), (1, 7, -1), ("a", 7, 0)]


@pytest.mark.parametrize("words", NONSENSE)
def test_words_of_a_worker_that_make_no_sense_are_refused(raw, words):
    with pytest.raises(redis.ResponseError, match="these are no results of calls"):
        raw.execute_command(WORK, *words)


def test_nobody_answers_the_calls_of_another_worker(raw, busy, workers, pool, blocked):
    worker, (asked,), reply = busy()
    stranger = workers()

    stranger.send(*outputs(asked, ONE))
    blocked(2)

    assert not reply.done() and not raw.exists("b")
    worker.send(*outputs(asked, 2 * ONE))
    assert reply.result(DEADLINE_S) == b"OK"
    worker.die()


def test_runs_are_counted(raw, client, busy, call, blocked):
    client.put_tensor("a", np.zeros((3, 2), "f4"))
    worker, (asked,), reply = busy()
    second = call(run())
    blocked(2)
    (other,) = worker.take(*outputs(asked, ONE))
    worker.send(*error(other, "no"))
    assert reply.result(DEADLINE_S) == b"OK" and text_of(second) == "no"

    found = raw.execute_command("AI.INFO", "m")

    assert found[10:] == [b"duration", 14, b"samples", 2, b"calls", 2, b"errors", 1]
    assert raw.execute_command("AI.INFO", "m", "RESETSTAT") == b"OK"
    assert raw.execute_command("AI.INFO", "m")[15] == 0


def test_a_model_that_was_deleted_leaves_the_calls_that_were_made(raw, busy, call, blocked):
    worker, (first,), reply = busy()
    raw.execute_command("AI.MODELDEL", "m")

    worker.send(*outputs(first, ONE))

    assert reply.result(DEADLINE_S) == b"OK"


def test_many_clients_get_each_its_own_answer(client, busy, call):
    worker, calls, reply = busy("BATCHSIZE", 16)
    for number in range(200):
        client.put_tensor(f"a{number}", np.full((1, 2), number, "f4"))
    started = time.monotonic()
    replies = [call(run(number)) for number in range(200)]
    served = len(calls)
    while served < 201:
        assert time.monotonic() - started < DEADLINE_S
        calls = worker.take(*(word for asked in calls for word in outputs(asked, -asked.inputs[0])))
        served += len(calls)
        assert sum(len(asked.inputs[0]) for asked in calls) <= 16
    worker.send(*(word for asked in calls for word in outputs(asked, -asked.inputs[0])))
    assert {it.result(DEADLINE_S) for it in (reply, *replies)} == {b"OK"}
    assert [client.get_tensor(f"b{number}")[0, 1] for number in range(200)] == [-number for number in range(200)]


def test_who_waits_may_be_unblocked_by_an_administrator(raw, busy, workers, blocked):
    worker, (asked,), reply = busy()
    caller = next(it["id"] for it in raw.client_list() if "b" in it["flags"])
    assert raw.client_unblock(caller)
    assert text_of(reply).startswith("TIMEDOUT")

    # A worker has nothing else to do than to wait.
    worker.send(*outputs(asked, ONE))
    blocked(1)
    waiting = next(it["id"] for it in raw.client_list() if "b" in it["flags"])
    assert not raw.client_unblock(waiting)
    blocked(1)
    assert not raw.exists("b")
