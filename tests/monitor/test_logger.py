"""The logger: what it takes, what arrives, and that it never harms its program."""

import asyncio
import logging
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.monitor import DataLogger, RecordServer, script
from smartml.monitor.records_pb2 import WriteRequest

RANDOM = np.random.default_rng(0)


@pytest.fixture
def log(server):
    with DataLogger("run", grpc_uri=server.address) as made:
        yield made


def stored(log, name=None):
    """Return what the server has when all was sent, as lists."""
    assert log.flush(20)
    found = script.export(log.address, log.scope, name)
    return {group[1:]: {field: it.tolist() for field, it in fields.items()} for group, fields in found.items()}


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (3, [1, 2, 5, 7], {0: ([3, 3, 3, 3], [1, 2, 5, 7])}),
        ([1, 2], [[1, 2], [3, 4], [5, 6]], {0: ([1, 2], [1, 2]), 1: ([1, 2], [3, 4]), 2: ([1, 2], [5, 6])}),
        (3, [[1], [2]], {0: ([3], [1]), 1: ([3], [2])}),
        ([[1, 2]], [[1, 2], [3, 4]], {0: ([1, 2], [1, 2]), 1: ([1, 2], [3, 4])}),
        (1, 2.5, {0: ([1], [2.5])}),
        ([], [], {}),
    ],
)
@pytest.mark.parametrize("start_index", [0, 5])
def test_fields_are_broadcast_and_rows_are_indexes(log, x, y, expected, start_index):
    log.write("a", x=x, y=y, start_index=start_index)
    assert stored(log) == {("a", index + start_index): {"x": xs, "y": ys} for index, (xs, ys) in expected.items()}


@pytest.mark.parametrize("form", ["called", "awaited", "write_sync"])
def test_start_index_is_honoured_in_every_form(server, form):
    async def main():
        async with DataLogger("run", grpc_uri=server.address) as log:
            if form == "awaited":
                await log.write("a", start_index=2, x=1)
            else:
                (log.write if form == "called" else log.write_sync)("a", start_index=2, x=1)

    asyncio.run(main())
    assert list(script.export(server.address)) == [("run", "a", 2)]


def test_a_batch_is_the_same_as_its_points_one_by_one(server):
    x, y = np.arange(20), RANDOM.random((3, 20))
    with DataLogger("batch", grpc_uri=server.address) as log:
        log.write("a", x=x, y=y)
    with DataLogger("single", grpc_uri=server.address) as log:
        for point in range(20):
            for index in range(3):
                log.write("a", start_index=index, x=x[point], y=y[index, point])

    batch, single = (script.export(server.address, scope) for scope in ("batch", "single"))
    for index in range(3):
        for field in "xy":
            one, other = batch["batch", "a", index][field], single["single", "a", index][field]
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()


def test_writes_of_all_kinds_stay_in_their_order(log):
    log.write("a", x=1)
    log.write("a", x=[2, 3])
    log.write("a", x=4)
    log.write("a", x=5.5)
    log.write("a", x=np.float32(6))
    log.write("a", x=[[7], [70]])
    log.write("a", x=True)
    assert stored(log) == {("a", 0): {"x": [1, 2, 3, 4, 5.5, 6, 7, 1]}, ("a", 1): {"x": [70]}}


@pytest.mark.parametrize("together", [True, False])
def test_an_int_column_that_becomes_float_is_float_when_read(log, together):
    log.write("a", x=2**40)
    if not together:
        log.flush()
    log.write("a", x=0.5)
    assert stored(log) == {("a", 0): {"x": [2.0**40, 0.5]}}


@pytest.mark.parametrize(
    "value", [2**40, -(2**63), 2**63 - 1, 1700000000.123456, float("nan"), -math.inf, np.uint64(7), np.float16(0.1)]
)
def test_no_number_loses_what_it_had(log, value):
    log.write("a", x=value)
    log.write("b", x=[value, value])
    found = stored(log)
    assert np.array_equal(found["a", 0]["x"], [value], equal_nan=True)
    assert np.array_equal(found["b", 0]["x"], [value, value], equal_nan=True)


def test_the_order_of_fields_is_that_of_the_first_write(log):
    log.write("a", x=1, y=2.5)
    log.write("a", y=3.5, x=2)
    log.write("a", y=[4.5], x=3)
    assert stored(log) == {("a", 0): {"x": [1, 2, 3], "y": [2.5, 3.5, 4.5]}}
    assert list(script.export(log.address)["run", "a", 0]) == ["x", "y"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": 1}, "has the fields x, y since its first write, not x"),
        ({"x": 1, "y": 2, "z": 3}, "has the fields x, y since"),
        ({}, "needs a field"),
        ({"x": 2**63, "y": 1}, "field 'x' of 'a' has the integer 9223372036854775808"),
        ({"x": 1, "y": np.uint64(2**63)}, "field 'y' of 'a' has the integer"),
        ({"x": [1, 2], "y": [1, 2, 3]}, "do not broadcast"),
        ({"x": np.zeros((2, 2, 2)), "y": 1}, "field 'x' of 'a' has shape"),
        ({"x": "text", "y": 1}, "field 'x' of 'a' is of dtype <U4"),
        ({"x": None, "y": 1}, "field 'x' of 'a' is of dtype object"),
        ({"x": 1, "y": 1, "start_index": -1}, "start_index must be 0 or more"),
        ({"x": 1, "y": 1, "start_index": 0.5}, "start_index must be a whole number"),
    ],
)
def test_wrong_arguments_raise_at_the_write_and_leave_nothing(log, fields, words):
    log.write("a", x=1, y=2)
    log.write("a", x=1, y=2)
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words):
        log.write("a", **fields)
    log.write("a", x=3, y=4)
    assert stored(log) == {("a", 0): {"x": [1, 1, 3], "y": [2, 2, 4]}}


@pytest.mark.parametrize("name", [3, "", None, "half a \ud83d"])
def test_a_name_is_text(log, name):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="the name to write to"):
        log.write(name, x=1)


def test_what_cannot_be_encoded_is_refused_at_once(log):
    with pytest.raises(ArgumentValueError, match="a field is no text that can be encoded"):
        log.write("a", **{"x\udc80": 1})
    with pytest.raises(ArgumentValueError, match="scope is no text"):
        DataLogger("\udc80")


def test_an_empty_write_fixes_no_types(log):
    log.write("a", x=np.zeros(0), y=[])
    log.write("a", x=1, z=2)
    assert stored(log) == {("a", 0): {"x": [1], "z": [2]}}


def test_what_is_written_is_what_the_array_held_then(log):
    x = np.arange(3)
    log.write("a", x=x)
    x += 100
    assert stored(log) == {("a", 0): {"x": [0, 1, 2]}}


def test_name_is_free_as_a_field(log):
    log.write("a", name=1, self=2)
    assert stored(log) == {("a", 0): {"name": [1], "self": [2]}}


def test_hostile_scopes_and_names_come_back_as_they_were(server):
    for scope in ("a(b", "a.b", "<script>", "über/lang\n", ".*"):
        with DataLogger(scope, grpc_uri=server.address) as log:
            log.write(f"{scope}'\"", x=1)
    assert script.scopes(server.address) == ["a(b", "a.b", "<script>", "über/lang\n", ".*"]
    assert list(script.export(server.address, "a.b")) == [("a.b", "a.b'\"", 0)]
    assert list(script.export(server.address, ".*")) == [(".*", ".*'\"", 0)]


@pytest.mark.parametrize("delete_existing", [True, False])
def test_the_same_scope_is_one_series_or_begins_anew(server, delete_existing):
    for values in ([1, 2], [3]):
        with DataLogger("run", delete_existing, grpc_uri=server.address) as log:
            log.write_config({"values": values})
            log.write("a", x=values)

    assert script.scopes(server.address) == ["run"]
    assert script.names(server.address, "run") == ["a"]
    [fields] = script.export(server.address).values()
    assert fields["x"].tolist() == ([3] if delete_existing else [1, 2, 3])
    configs = script.config(server.address, "run")["run"]
    assert configs == ([{"values": [3]}] if delete_existing else [{"values": [1, 2]}, {"values": [3]}])


def test_configs_keep_their_types(log):
    config = {"steps": 5, "rate": 0.5, "on": True, "none": None, "list": [1, {"a": "b"}], "np": np.int64(3)}
    log.write_config(config)
    log.flush()
    [found] = script.config(log.address, "run")["run"]
    assert found == config
    assert type(found["steps"]) is int
    with pytest.raises(ArgumentTypeError, match=r"config\['a'\]\[0\] is of type object"):
        log.write_config({"a": [object()]})
    with pytest.raises(ArgumentTypeError, match="keys are text"):
        log.write_config({1: 2})


def test_settings_may_come_later_but_not_too_late(server):
    log = DataLogger(scope="run", delete_existing=True)
    log.init(grpc_uri=server.address, flush_every=1.0, tensor_type="torch")
    with log:
        log.write("a", x=1)
        with pytest.raises(ArgumentValueError, match="at work already"):
            log.init(grpc_uri=server.address)
    assert script.names(server.address, "run") == ["a"]


@pytest.mark.parametrize(
    "settings",
    [
        {"tensor_type": "tensorflow"},
        {"flush_every": 0},
        {"grpc_uri": "nowhere"},
        {"when_full": "explode"},
        {"max_queue_mb": -1},
        {"scope": ""},
        {"exit_timeout_s": float("inf")},
    ],
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ArgumentValueError, match=next(iter(settings)).replace("grpc_uri", "host:port")):
        DataLogger(**{"scope": "run", **settings})


def test_the_environment_names_the_server(server, monkeypatch):
    monkeypatch.setenv("SMARTML_MONITOR", server.address)
    with DataLogger("run") as log:
        log.write("a", x=1)
    assert script.scopes(server.address) == ["run"]


def test_flush_in_an_event_loop_is_awaited_and_blocks_nobody(server):
    async def main():
        async with DataLogger("run", grpc_uri=server.address, flush_every=100) as log:
            await log.write("a", x=1)
            await log.yield_to_flush()
            assert await log.flush(20) is True
            assert await log.flush() is True
            return script.names(server.address, "run")

    assert asyncio.run(main()) == ["a"]


def test_awaiting_a_write_lets_others_run(log):
    async def main():
        seen = []

        async def other():
            seen.append("other")

        task = asyncio.create_task(other())
        await log.write("a", x=1)
        assert seen == ["other"]
        await task

    asyncio.run(main())


def test_what_is_written_arrives_without_being_asked_for(server, eventually):
    with DataLogger("run", grpc_uri=server.address, flush_every=0.05) as log:
        log.write("a", x=1)
        eventually(lambda: script.scopes(server.address) == ["run"] and script.names(server.address, "run") == ["a"])


@pytest.mark.parametrize("is_async", [True, False])
def test_an_error_that_passes_through_leaves_all_points_behind_it_stored(server, is_async):
    async def awaiting():
        async with DataLogger("run", grpc_uri=server.address, flush_every=100) as log:
            for step in range(100):
                await log.write("a", x=step)
            raise ZeroDivisionError

    def calling():
        with DataLogger("run", grpc_uri=server.address, flush_every=100) as log:
            for step in range(100):
                log.write("a", x=step)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(awaiting()) if is_async else calling()
    assert script.counts(server.address) == {("run", "a", 0): 100}


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "raise ValueError"])
def test_the_end_of_the_interpreter_sends_what_is_left(server, ending):
    code = f"""
from smartml.monitor import DataLogger
log = DataLogger("run", grpc_uri={server.address!r}, flush_every=100)
for step in range(1000):
    log.write("a", x=step)
{ending}
"""
    subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=60)
    assert script.counts(server.address) == {("run", "a", 0): 1000}


def test_threads_write_side_by_side(log):
    def work(number):
        for step in range(2000):
            log.write("mixed", x=number * 10000 + step, y=0.5)
            log.write(f"own {number}", x=step)
            if step % 100 == 0:
                log.write("mixed", x=np.array([number * 10000 + step]), y=[1.0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = stored(log)
    assert all(found[f"own {number}", 0]["x"] == list(range(2000)) for number in range(4))
    mixed = found["mixed", 0]
    assert len(mixed["x"]) == len(mixed["y"]) == 4 * 2020
    for number in range(4):
        own = [x for x in mixed["x"] if x // 10000 == number]
        assert own == sorted(own)


def test_ten_million_points_in_one_write_arrive(log):
    x = np.arange(10_000_000)
    y = RANDOM.random(10_000_000, dtype="float32")
    log.write("a", x=x, y=y)
    assert log.flush(120)
    [found] = script.export(log.address).values()
    assert (found["x"] == x).all()
    assert (found["y"] == y).all()
    assert log.counts.sent == 10_000_000


def test_a_program_goes_on_while_the_server_is_away_and_all_arrives_later(server_process, caplog):
    with DataLogger("run", grpc_uri=server_process.address, flush_every=0.02) as log:
        longest_s = 0.0
        with caplog.at_level(logging.INFO, "smartml"):
            for step in range(30_000):
                if step == 10_000:
                    log.flush()
                    server_process.end()
                if step == 20_000:
                    while not log.counts.retries:
                        time.sleep(0.01)
                    server_process.start()
                begin = time.perf_counter()
                log.write("a", x=step)
                if step not in (10_000, 20_000):
                    longest_s = max(longest_s, time.perf_counter() - begin)
            assert log.flush(30)
        assert log.counts.sent == 30_000
        assert (log.counts.dropped, log.counts.refused) == (0, 0)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([message for message in told if "cannot be sent now, and is kept" in message]) == 1
    # Far below any time-out of the network: nothing waited for the server.
    assert longest_s < 5
    [fields] = script.export(server_process.address).values()
    assert fields["x"].tolist() == list(range(30_000))


def test_a_server_killed_at_any_moment_has_all_that_it_said_it_keeps(server_process):
    kept, sent = 0, 0
    with DataLogger("run", grpc_uri=server_process.address, flush_every=0.001, exit_timeout_s=30) as log:
        for round_number in range(4):
            until = time.monotonic() + 0.05 + 0.1 * RANDOM.random()
            while time.monotonic() < until:
                log.write("a", x=[sent], y=RANDOM.random(1))
                sent += 1
            kept = log.counts.sent
            server_process.end()
            # It is read without the server, while none runs.
            fields = script.export(server_process.path, "run").get(("run", "a", 0), {"x": np.zeros(0)})
            assert fields["x"].tolist() == list(range(len(fields["x"]))), round_number
            assert len(fields["x"]) >= kept
            server_process.start()
    assert log.counts.sent == sent
    [fields] = script.export(server_process.address).values()
    assert fields["x"].tolist() == list(range(sent)), "nothing lost, nothing twice, all in order"


def test_an_emptied_store_is_gone_on_with(tmp_path):
    with RecordServer(tmp_path / "one", port=0) as server:
        address = server.address
        log = DataLogger("run", grpc_uri=address, flush_every=0.05)
        log.write("a", x=1)
        assert log.flush(20)
    with RecordServer(tmp_path / "two", port=int(address.rpartition(":")[2])):
        log.write("a", x=2)
        log.write("b", x=3)
        assert log.flush(20)
        assert {group[1]: it["x"].tolist() for group, it in script.export(address).items()} == {"a": [2], "b": [3]}
        log.close()


def test_a_logger_is_told_of_what_was_deleted_under_it(log, caplog):
    log.write("a", x=1)
    log.flush()
    script.delete(log.address, "run", "a")
    log.write("a", x=[2, 3])
    log.write("b", x=4)
    assert stored(log) == {("b", 0): {"x": [4]}}
    assert (log.counts.sent, log.counts.refused) == (2, 2)

    script.delete(log.address, "run")
    for _ in range(3):
        log.write("b", x=5)
        log.flush()
    assert log.counts.refused == 5
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "the name 'a' was deleted while it was written to" in told[0]
    assert "the scope 'run' was deleted while it was written to" in told[1]


def test_a_request_that_the_server_fails_at_does_not_hold_up_what_follows(caplog):
    taken = []

    def write(request, context):
        names = [block.name for block in request.blocks]
        if "poison" in names:
            raise ZeroDivisionError("the server has a flaw")
        taken.extend(names)
        return b""

    answers = {
        "Begin": grpc.unary_unary_rpc_method_handler(lambda request, context: b""),
        "Write": grpc.unary_unary_rpc_method_handler(write, WriteRequest.FromString),
    }
    flawed = grpc.server(ThreadPoolExecutor(2))
    flawed.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("smartml.monitor.RecordServer", answers)])
    port = flawed.add_insecure_port("127.0.0.1:0")
    flawed.start()
    with DataLogger("run", grpc_uri=f"127.0.0.1:{port}") as log:
        for name in ("good", "poison", "better"):
            log.write(name, x=[1, 2])
            assert log.flush(30)
    flawed.stop(0).wait()
    assert taken == ["good", "better"]
    assert (log.counts.sent, log.counts.refused, log.counts.dropped) == (4, 2, 0)
    assert "are not kept by the record server" in caplog.text


def test_a_full_queue_drops_the_oldest_points_and_counts_them(caplog):
    log = DataLogger("run", grpc_uri="127.0.0.1:1", max_queue_mb=1, exit_timeout_s=0.1)
    for step in range(200):
        log.write("a", x=np.full(10_000, step))
    assert 1_500_000 < log.counts.dropped < 2_000_000
    log.close()
    assert log.counts.dropped == 2_000_000
    assert "points of 'run' were not sent in time, and are lost" in caplog.text


def test_scalars_are_bounded_too():
    log = DataLogger("run", grpc_uri="127.0.0.1:1", max_queue_mb=1, exit_timeout_s=0.1)
    for step in range(300_000):
        log.write("a", x=step)
    assert log.counts.dropped > 100_000
    log.close()
    assert log.counts.dropped == 300_000


def test_the_newest_points_are_those_that_arrive(server_process):
    server_process.end()
    log = DataLogger("run", grpc_uri=server_process.address, max_queue_mb=1, flush_every=0.05, exit_timeout_s=20)
    for step in range(300_000):
        log.write("a", x=step)
    server_process.start()
    log.close()
    [fields] = script.export(server_process.address).values()
    assert fields["x"][-1] == 299_999
    assert (np.diff(fields["x"]) > 0).all()
    assert len(fields["x"]) == log.counts.sent == 300_000 - log.counts.dropped


def test_a_writer_may_rather_wait_for_room(server_process):
    server_process.end()
    log = DataLogger("run", grpc_uri=server_process.address, max_queue_mb=1, when_full="block", flush_every=0.05)
    done = threading.Event()

    def work():
        for step in range(100):
            log.write("a", x=np.full(10_000, step))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not done.wait(0.5)
    server_process.start()
    assert done.wait(30)
    thread.join()
    log.close(30)
    assert (log.counts.sent, log.counts.dropped) == (1_000_000, 0)


def test_leaving_waits_for_an_absent_server_no_longer_than_told(caplog):
    with DataLogger("run", grpc_uri="127.0.0.1:1", exit_timeout_s=0.3) as log:
        log.write("a", x=1)
        assert not log.flush(0.1)
    assert log.counts.dropped == 1


def test_a_closed_logger_begins_again_with_the_next_write(server):
    log = DataLogger("run", grpc_uri=server.address)
    log.write("a", x=1)
    log.close()
    log.write("a", x=2)
    log.close()
    [fields] = script.export(server.address).values()
    assert fields["x"].tolist() == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_sends_nothing_twice(server):
    code = f"""
import os
from smartml.monitor import DataLogger
log = DataLogger("run", grpc_uri={server.address!r}, flush_every=100)
log.write("a", x=0)
log.flush()
for step in range(1, 10):
    log.write("a", x=step)
child = os.fork()
if child == 0:
    log.write("child", x=1)
    log.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
log.write("a", x=10)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
    assert script.counts(server.address) == {("run", "a", 0): 11, ("run", "child", 0): 1}


def test_a_logger_goes_to_other_processes(server):
    log = DataLogger("run", grpc_uri=server.address, flush_every=100)
    log.write("a", x=1)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_elsewhere, [log] * 4, range(4)))
    log.close()
    found = script.export(server.address)
    assert found["run", "a", 0]["x"].tolist() == [1]
    assert sorted(found["run", "elsewhere", 0]["x"].tolist()) == [0, 1, 2, 3]


def write_elsewhere(log, x):
    # Nobody closes it: it is sent when the process ends.
    log.write("elsewhere", x=x)
