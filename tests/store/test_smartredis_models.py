"""Models and scripts: what the real SmartRedis client sets, ours runs, and the other way round; every method."""

import os

import numpy as np
import pytest

import smartml
from smartml.store.module import find_module

smartredis = pytest.importorskip("smartredis", reason="needs SmartRedis (pip install smartredis, up to Python 3.11)")
pytest.importorskip("torch", reason="needs torch (pip install 'smartml[torch]')")
networks = pytest.importorskip("networks")
torchscript = pytest.importorskip("torchscript")
pytestmark = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")

X = np.arange(6, dtype="f4").reshape(2, 3)

QUIET = {
    "SR_LOG_LEVEL": "QUIET",
    "SR_LOG_FILE": os.devnull,
    "SR_SOCKET_TIMEOUT": "60000",
    "SR_CONN_TIMEOUT": "5",
    "SR_CMD_TIMEOUT": "5",
    "SR_THREAD_COUNT": "2",
}


@pytest.fixture(scope="module")
def affine():
    return torchscript.saved(networks.Affine(1))


@pytest.fixture(params=["a server", "a cluster"])
def connect(request, inference_database, monkeypatch):
    """Connect with either library, under an environment: `connect(smartredis, SSKEYIN="a,b")`; nothing is stored."""
    database = inference_database(request.param)
    addresses = ",".join(database.address) if isinstance(database.address, list) else database.address
    kind = "Clustered" if request.param == "a cluster" else "Standalone"
    closing = []

    def connect(library, **environment):
        with monkeypatch.context() as context:
            for name, value in (QUIET | {"SSDB": addresses, "SR_DB_TYPE": kind} | environment).items():
                context.setenv(name, value)
            client = library.Client() if library is smartml else library.Client(None)
        if library is smartml:
            closing.append(client)
        return client

    with database.connect() as client:
        for address in client.database.server_addresses():
            client.flush_db([str(address)])
    yield connect
    for client in closing:
        client.close()


@pytest.fixture(params=[(smartredis, smartml), (smartml, smartredis)], ids=["theirs to ours", "ours to theirs"])
def both(request, connect):
    """Return who sets and who runs."""
    return tuple(connect(library) for library in request.param)


def double(x):
    return 2 * x


def test_a_model_that_one_sets_the_other_runs(both, affine):
    setter, runner = both
    setter.set_model("net", affine, "TORCH", "CPU", 8, 2, 1, "v1")
    setter.put_tensor("x", X)

    assert runner.model_exists("net") and runner.poll_model("net", 1, 1)
    assert runner.get_model("net") == affine
    runner.run_model("net", inputs=["x"], outputs=["y"])

    np.testing.assert_array_equal(setter.get_tensor("y"), 2 * X + 1, strict=True)
    runner.delete_model("net")
    assert not setter.model_exists("net")


def test_a_script_that_one_sets_the_other_runs(both):
    setter, runner = both
    setter.set_script("script", networks.SCRIPT)
    setter.put_tensor("a", X)
    setter.put_tensor("b", X[::-1])

    assert runner.get_script("script") == networks.SCRIPT
    runner.run_script("script", "double", ["a"], ["twice"])
    runner.run_script("script", "sum_and_difference", inputs=["a", "b"], outputs=["sum", "difference"])

    np.testing.assert_array_equal(setter.get_tensor("twice"), 2 * X)
    np.testing.assert_array_equal(setter.get_tensor("difference"), X - X[::-1])
    runner.delete_script("script")
    assert not setter.model_exists("script")


def test_a_function_that_one_sets_the_other_runs(both):
    setter, runner = both
    setter.set_function("f", double)
    setter.put_tensor("x", X)

    runner.run_script("f", "double", ["x"], ["y"])

    np.testing.assert_array_equal(setter.get_tensor("y"), 2 * X)
    assert setter.get_script("f") == runner.get_script("f")


def test_files_that_one_sets_the_other_runs(both, affine, tmp_path):
    setter, runner = both
    (tmp_path / "net.pt").write_bytes(affine)
    (tmp_path / "script.py").write_text(networks.SCRIPT)
    setter.set_model_from_file("net", str(tmp_path / "net.pt"), "TORCH")
    setter.set_script_from_file("script", str(tmp_path / "script.py"))
    setter.put_tensor("x", X)

    runner.run_model("net", ["x"], ["y"])
    runner.run_script("script", "double", ["x"], ["z"])

    np.testing.assert_array_equal(setter.get_tensor("y"), 2 * X + 1)
    np.testing.assert_array_equal(setter.get_tensor("z"), 2 * X)


def test_copies_for_several_gpus_have_the_same_names(both, affine, tmp_path):
    setter, other = both
    (tmp_path / "net.pt").write_bytes(affine)
    (tmp_path / "script.py").write_text(networks.SCRIPT)

    setter.set_model_multigpu("m", affine, "TORCH", 0, 2)
    setter.set_model_from_file_multigpu("n", str(tmp_path / "net.pt"), "TORCH", 0, 2)
    setter.set_script_multigpu("s", networks.SCRIPT, 0, 2)
    setter.set_script_from_file_multigpu("t", str(tmp_path / "script.py"), 0, 2)
    setter.set_function_multigpu("u", double, 0, 2)

    copies = [f"{name}{copy}" for name in "mnstu" for copy in ("", ".GPU:0", ".GPU:1")]
    assert [name for name in copies if not other.model_exists(name)] == []
    assert other.get_model("n.GPU:1") == affine and other.get_script("t.GPU:0") == networks.SCRIPT
    for name in "mn":
        other.delete_model_multigpu(name, 0, 2)
    for name in "stu":
        other.delete_script_multigpu(name, 0, 2)
    assert [name for name in copies if setter.model_exists(name)] == []


def test_prefixes_are_the_same(connect, affine):
    environment = {"SSKEYIN": "own", "SSKEYOUT": "own"}
    theirs, ours, plain = connect(smartredis, **environment), connect(smartml, **environment), connect(smartml)
    for client in (theirs, ours):
        client.set_model("shared", affine, "TORCH")
        client.use_model_ensemble_prefix(True)
    theirs.set_model("net", affine, "TORCH")
    ours.put_tensor("x", X)

    ours.run_model("net", ["x"], ["y"])
    theirs.run_model("net", ["y"], ["z"])

    assert plain.model_exists("shared") and plain.model_exists("own.net") and not plain.model_exists("net")
    np.testing.assert_array_equal(plain.get_tensor("own.z"), 2 * (2 * X + 1) + 1)


def test_the_size_of_chunks_is_chosen_for_both(both, affine):
    setter, other = both
    setter.set_model_chunk_size(100)
    try:
        other.set_model("net", affine, "TORCH")
        assert setter.get_model("net") == other.get_model("net") == affine
    finally:
        (setter if isinstance(setter, smartml.Client) else other).set_model_chunk_size(535822336)


def test_runs_are_counted_for_both(connect, affine):
    ours, theirs = connect(smartml), connect(smartredis)
    addresses = [str(address) for address in ours.database.server_addresses()]
    ours.set_model("net", affine, "TORCH", tag="v1")
    ours.put_tensor("x", X)
    theirs.run_model("net", ["x"], ["y"])
    ours.run_model("net", ["x"], ["y"])

    found = [client.get_ai_info(addresses, "net") for client in (ours, theirs)]

    assert found[0] == found[1]
    assert sum(int(one["calls"]) for one in found[0]) == 2 and sum(int(one["samples"]) for one in found[0]) == 4


def test_what_fails_raises_in_both(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    ours.set_model("two", torchscript.saved(networks.Two()), "TORCH")
    ours.put_tensor("a", np.zeros((2, 3), "f4"))
    ours.put_tensor("b", np.zeros((4, 5), "f4"))

    for client in (ours, theirs):
        with pytest.raises((smartml.errors.InferenceError, smartredis.error.RedisReplyError), match="size of tensor"):
            client.run_model("two", ["a", "b"], ["c", "d"])
        for act in (
            lambda client=client: client.run_model("none", ["a"], ["c"]),
            lambda client=client: client.run_model("two", ["a", "none"], ["c", "d"]),
            lambda client=client: client.get_model("none"),
            lambda client=client: client.delete_model("none"),
            lambda client=client: client.get_script("none"),
            lambda client=client: client.delete_script("none"),
        ):
            with pytest.raises((smartml.errors.NotFoundError, smartredis.error.RedisReplyError)):
                act()
