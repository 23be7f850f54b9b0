"""A database with a real worker, and models that are small enough to check by hand."""

import threading
from importlib.util import find_spec

import numpy as np
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from smartml import Client, Orchestrator
from smartml.store.module import find_module

DEADLINE_S = 60

needs_onnx = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="the package 'onnxruntime' is not installed")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the package 'torch' is not installed")


@pytest.fixture(autouse=True)
def has_module():
    if find_module() is None:
        pytest.skip("needs the tensor module (smartml module build)")


@pytest.fixture(scope="session")
def database():
    """A database with one worker, shared by the whole session."""
    with Orchestrator(port=0, unix_socket=True, intra_op_threads=1) as started:
        yield started


@pytest.fixture
def raw(database):
    """A client of the emptied database."""
    with redis.Redis(port=database.port, socket_timeout=DEADLINE_S, retry=Retry(NoBackoff(), 0)) as connected:
        connected.flushall()
        yield connected


@pytest.fixture
def client(raw, database):
    with Client(address=database.address) as connected:
        yield connected


@pytest.fixture
def run(raw, client):
    """Run a command of RedisAI's in words, on tensors: `run("AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b", a=array)`."""

    def run(text, **arrays):
        for name, array in arrays.items():
            client.put_tensor(name, np.asarray(array))
        return raw.execute_command(*text.split())

    return run


@pytest.fixture
def error_of(run):
    """Return the text of the error that a command is answered with."""

    def error_of(text, **arrays):
        with pytest.raises(redis.ResponseError) as caught:
            run(text, **arrays)
        return str(caught.value)

    return error_of


def workers_of(database):
    """Return the processes of the workers of a database."""
    return psutil.Process(database.pid).children()


class Threads:
    """Run functions at once, and raise their errors."""

    def __init__(self, *functions):
        self._errors = []
        self._threads = [threading.Thread(target=self._guarded, args=(it,)) for it in functions]

    def _guarded(self, function):
        try:
            function()
        except BaseException as error:  # noqa: BLE001
            self._errors.append(error)

    def run(self):
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        assert not self._errors, self._errors
