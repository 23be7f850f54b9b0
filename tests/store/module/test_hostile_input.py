"""Random commands, and random bytes in place of tensors, against a server whose module watches its own memory."""

import contextlib
import os
import random
import shutil
import subprocess

import numpy as np
import pytest
import redis

from smartml import tensors
from smartml.errors import TensorFormatError
from smartml.store.module import build_module

ROUNDS = 60
# Fewer: their large values take twenty times as long late in a run of all tests, on a machine that is busy besides.
TENSOR_ROUNDS = 20
COMMANDS_PER_ROUND = 250
SANITIZERS = "-g -fsanitize=address,undefined -fno-sanitize-recover=all"

# Two of them end in numbers, and are told to those who follow.
KEYS = (b"a", b"b_7", b"b_007_4294967294", b"")
NAMES = (b"FLOAT", b"DOUBLE", b"INT8", b"UINT8", b"INT64", b"uint16", b"BOOL", b"STRING", b"FLOAT64", b"")
NUMBERS = (b"0", b"1", b"1", b"2", b"2", b"3", b"5", b"-1", b"256", b"1e3", b"nan", b"-inf", b"4294967296", b"x", b"")
LARGE_NUMBERS = (b"9223372036854775807", b"9223372036854775808", b"4611686018427387904", b"67108865")
WORDS = (b"BLOB", b"VALUES", b"META", b"blob", b"values", b"GET", b"MODEL_CHUNK_SIZE", b"RESETSTAT", b"\0\xff{}")
COMMANDS = (b"AI.TENSORSET", b"AI.TENSORGET", b"AI.CONFIG", b"AI.INFO")
MODEL_COMMANDS = tuple(
    f"AI.{kind}{act}".encode()
    for kind in ("MODEL", "SCRIPT")
    for act in ("STORE", "SET", "GET", "DEL", "EXECUTE", "RUN")
)
MODEL_WORDS = (b"TORCH", b"TF", b"CPU", b"GPU:1", b"TAG", b"BATCHSIZE", b"MINBATCHSIZE", b"MINBATCHTIMEOUT", b"SOURCE")
RUN_WORDS = (b"INPUTS", b"OUTPUTS", b"TIMEOUT", b"KEYS", b"ARGS", b"ENTRY_POINTS", b"BLOB", b"META", b"TIMEOUT")


def library(name):
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def have_sanitizers():
    return shutil.which("gcc") is not None and all(os.path.isabs(library(f"lib{it}.so")) for it in ("asan", "ubsan"))


@pytest.fixture
def guarded(start_server, tmp_path, monkeypatch):
    """A server with a sanitized module: it stops, and says why, at the first byte beside its memory."""
    if shutil.which("redis-server") is None or not have_sanitizers():
        pytest.skip("needs redis-server and gcc with its sanitizers (apt-get install redis-server gcc)")
    monkeypatch.setenv("CC", f"gcc {SANITIZERS}")
    built = build_module(tmp_path / "module.so")
    report = tmp_path / "report"
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", f"{library('libasan.so')} {library('libubsan.so')}")
        environment.setenv("ASAN_OPTIONS", f"detect_leaks=0:log_path={report}")
        environment.setenv("UBSAN_OPTIONS", f"print_stacktrace=1:log_path={report}")
        started = start_server("--loadmodule", str(built))
    with redis.Redis(port=started.port, socket_timeout=60) as raw:
        yield raw
    assert [file.read_text() for file in tmp_path.glob("report*")] == []


def random_command(chance):
    """Return a command that is nearly right, or not at all."""
    name = chance.choice((*COMMANDS, b"AI.TENSORSET", b"AI.TENSORSET", b"AI.TENSORGET"))
    if name == b"AI.TENSORSET" and chance.random() < 0.7:
        dtype = chance.choice(NAMES[:7])
        dims = [chance.choice(NUMBERS[1:7]) for _ in range(chance.choice((0, 1, 1, 2, 3, 33)))]
        elements = 1
        for dimension in dims:
            elements *= int(dimension)
        count = min(elements, 600) + chance.choice((0, 0, 0, 1, -1, 300))
        content = chance.choice(
            (
                [],
                [b"BLOB", chance.randbytes(min(elements, 600) * chance.choice((1, 1, 2, 4, 8)))],
                [b"VALUES", *chance.choices(chance.choice((NUMBERS[:3], NUMBERS)), k=max(0, count))],
            )
        )
        return [name, chance.choice(KEYS), dtype, *dims, *content]
    pool = (*NAMES, *NUMBERS, *LARGE_NUMBERS, *WORDS, chance.randbytes(chance.randrange(40)))
    return [name, *(chance.choice((*KEYS, *pool)) for _ in range(chance.randrange(7)))]


def random_model_command(chance):
    """Return a command of models that is right, nearly right, or not at all."""
    key = chance.choice((b"m", b"s", *KEYS))
    few = [chance.choice(KEYS) for _ in range(chance.randrange(1, 4))]
    count = str(len(few) + chance.choice((0, 0, 0, 1, -1, 2**62))).encode()
    batching = [chance.choice(MODEL_WORDS[4:8]), chance.choice(NUMBERS)] if chance.random() < 0.3 else []
    right = (
        [b"AI.MODELSTORE", key, b"TORCH", b"CPU", *batching, b"BLOB", *few],
        [
            b"AI.MODELSTORE",
            key,
            b"TF",
            b"CPU",
            *batching,
            b"INPUTS",
            count,
            *few,
            b"OUTPUTS",
            b"1",
            b"o",
            b"BLOB",
            b"x",
        ],
        [b"AI.MODELSET", key, b"TF", b"CPU", b"INPUTS", *few, b"OUTPUTS", *few, b"BLOB", b"x"],
        [b"AI.SCRIPTSTORE", key, b"CPU", b"ENTRY_POINTS", count, *few, b"SOURCE", b"text"],
        [b"AI.SCRIPTSET", key, b"CPU", b"SOURCE", b"text"],
        [b"AI.MODELEXECUTE", key, b"INPUTS", count, *few, b"OUTPUTS", count, *few, b"TIMEOUT", b"1"],
        [b"AI.MODELRUN", key, b"TIMEOUT", b"1", b"INPUTS", *few, b"OUTPUTS", *few],
        [b"AI.SCRIPTRUN", key, b"f", b"INPUTS", *few, b"TIMEOUT", b"1", b"OUTPUTS", *few],
        [b"AI.SCRIPTEXECUTE", key, b"f", b"KEYS", count, *few, b"ARGS", count, *few, b"OUTPUTS", count, *few],
    )
    if chance.random() < 0.7:
        words = list(chance.choice(right))
        if chance.random() < 0.2:
            words[chance.randrange(1, len(words))] = chance.choice((*RUN_WORDS, *NUMBERS, *LARGE_NUMBERS))
        return words
    pool = (*KEYS, *NUMBERS, *LARGE_NUMBERS, *MODEL_WORDS, *RUN_WORDS, chance.randbytes(chance.randrange(40)))
    return [chance.choice(MODEL_COMMANDS), *(chance.choice(pool) for _ in range(chance.randrange(9)))]


def random_results(chance, calls):
    """Return what a worker might say of calls, rightly or not."""
    words = []
    for call in calls:
        array, description = tensors.encode(np.ones((2, 2), "f4"))
        value = bytes(array) + description
        values = [random_value(chance, value) if chance.random() < 0.3 else value for _ in range(call[7])]
        number = call[0] + chance.choice((0, 0, 0, 0, 1, 2**62))
        words += [number, 5, *chance.choice(([-1, b"why \xff"], [len(values), *values], [1, b""]))]
    return words[: len(words) - chance.randrange(3)] if chance.random() < 0.1 else words


def random_value(chance, value):
    """Return a tensor's bytes with some of them changed, cut off or added."""
    damaged = bytearray(value)
    for _ in range(chance.randrange(4)):
        damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 2, 9, 32, 33, 255))
    cut = chance.randrange(len(damaged)) if chance.random() < 0.3 else 0
    return bytes(damaged[cut:])


def test_nothing_that_a_client_sends_reads_or_writes_beside_the_memory_of_a_tensor(guarded):
    chance = random.Random(20_240_501)
    stored = 0
    for _ in range(TENSOR_ROUNDS):
        with guarded.pipeline(transaction=chance.random() < 0.3) as pipe:
            for _ in range(COMMANDS_PER_ROUND):
                pipe.execute_command(*random_command(chance))
            pipe.execute(raise_on_error=False)
        for key in KEYS:
            value = guarded.get(key)
            if value is None:
                continue
            # Whatever was accepted is a whole tensor.
            tensors.decode(value, repr(key))
            stored += 1
            broken = random_value(chance, value)
            guarded.set(key, broken)
            for words in ((), (b"META",), (b"VALUES",)):
                with contextlib.suppress(redis.ResponseError):
                    guarded.execute_command("AI.TENSORGET", key, *words)
            guarded.delete(key)
    assert guarded.ping()
    assert stored > TENSOR_ROUNDS


def test_what_the_module_takes_for_a_tensor_is_one_for_the_client_too(guarded):
    chance = random.Random(1)
    guarded.execute_command("AI.TENSORSET", "t", "INT16", 2, 3)
    whole = guarded.get("t")
    agreed = {True: 0, False: 0}
    for _ in range(3000):
        value = random_value(chance, whole)
        guarded.set("t", value)
        try:
            tensors.decode(value, "t")
            is_tensor = True
        except TensorFormatError:
            is_tensor = False
        try:
            guarded.execute_command("AI.TENSORGET", "t", "META")
            is_taken = True
        except redis.ResponseError as error:
            # Dtypes that SmartRedis has no name for.
            is_taken = "data type that SmartRedis does not know" in str(error)
        assert is_taken == is_tensor, value
        agreed[is_tensor] += 1
    assert min(agreed.values()) > 100


def test_nothing_that_clients_and_workers_say_of_models_reads_or_writes_beside_their_memory(guarded):
    chance = random.Random(8_1523)
    port = guarded.get_connection_kwargs()["port"]
    workers, taken = [], 0
    clients = [redis.Connection(port=port, socket_timeout=60) for _ in range(8)]
    for round_number in range(ROUNDS):
        for client in clients:
            # Some wait for an answer, and go before it comes.
            client.disconnect()
            client.connect()
            for _ in range(20):
                client.send_command(*random_model_command(chance))
        with guarded.pipeline(transaction=True) as together:
            together.delete("a")
            together.execute_command("AI.TENSORSET", "a", "FLOAT", 2, 2)
            together.execute()
        for key in (b"m", b"s"):
            value = guarded.get(key)
            if value is not None and chance.random() < 0.5:
                guarded.set(key, random_value(chance, value))
        if len(workers) < 3:
            workers.append(redis.Connection(port=port, socket_timeout=60))
            workers[-1].connect()
            workers[-1].send_command("SMARTML.INFERENCE")
        for worker in list(workers):
            if not worker.can_read(0.02):
                continue
            try:
                calls = worker.read_response()
                taken += len(calls)
                worker.send_command("SMARTML.INFERENCE", *random_results(chance, calls))
            except redis.ResponseError:
                worker.send_command("SMARTML.INFERENCE")
            if chance.random() < 0.2:
                workers.remove(worker)
                worker.disconnect()
        assert guarded.ping(), round_number
    for connection in (*clients, *workers):
        connection.disconnect()
    assert guarded.ping()
    assert taken > ROUNDS // 4
