"""Programs of SmartRedis's own client that run models and scripts, as they were written for SmartSim."""

import numpy as np
import pytest
import redis

from smartml import Orchestrator

smartredis = pytest.importorskip("smartredis", reason="needs SmartRedis (pip install smartredis, up to Python 3.11)")
torch = pytest.importorskip("torch", reason="the package 'torch' is not installed")
# Networks need it.
from torchscript import saved  # noqa: E402

from .networks import Product, Times  # noqa: E402

X = np.arange(6, dtype="f4").reshape(2, 3)

QUIET = {"SR_LOG_LEVEL": "QUIET", "SR_LOG_FILE": "/dev/null", "SR_SOCKET_TIMEOUT": "60000", "SR_CONN_TIMEOUT": "5"}


@pytest.fixture
def theirs(raw, database, monkeypatch):
    """SmartRedis's client."""
    for name, value in {**QUIET, "SSDB": database.address, "SR_DB_TYPE": "Standalone", "SR_CMD_TIMEOUT": "5"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SSKEYIN", "SSKEYOUT"):
        monkeypatch.delenv(name, raising=False)
    return smartredis.Client(cluster=False)


def two_to_one(data, data_2):
    """Return the largest of the rows of both."""
    merged = torch.cat((data, data_2))
    return merged.max(1)[0]


def test_a_model_is_set_run_read_and_deleted(theirs, tmp_path):
    theirs.put_tensor("x", X)
    theirs.set_model("m", saved(Times(3)), "TORCH", device="CPU", tag="v1")

    theirs.run_model("m", inputs=["x"], outputs=["y"])

    np.testing.assert_array_equal(theirs.get_tensor("y"), 3 * X)
    (tmp_path / "model.pt").write_bytes(theirs.get_model("m"))
    theirs.set_model_from_file("copy", str(tmp_path / "model.pt"), "TORCH", batch_size=4)
    theirs.run_model("copy", inputs="x", outputs="z")
    np.testing.assert_array_equal(theirs.get_tensor("z"), 3 * X)
    theirs.delete_model("m")
    with pytest.raises(smartredis.error.RedisReplyError, match="model key is empty"):
        theirs.run_model("m", inputs=["x"], outputs=["y"])


def test_functions_and_scripts_are_set_and_run(theirs):
    theirs.put_tensor("x", X)
    theirs.put_tensor("y", 2 * X)
    theirs.set_function("f", two_to_one)
    theirs.set_script("s", "def half(x):\n    return x / 2\n")

    theirs.run_script("f", "two_to_one", ["x", "y"], ["largest"])
    theirs.run_script("s", "half", ["x"], ["half"])

    np.testing.assert_array_equal(theirs.get_tensor("largest"), [2, 5, 4, 10])
    np.testing.assert_array_equal(theirs.get_tensor("half"), X / 2)


def test_an_error_of_a_model_is_theirs_with_our_reason(theirs):
    theirs.put_tensor("x", X[:, :2].copy())
    theirs.set_model("m", saved(Product()), "TORCH")

    with pytest.raises(smartredis.error.RedisReplyError, match="mat1 and mat2 shapes cannot be multiplied"):
        theirs.run_model("m", inputs=["x"], outputs=["y"])
    assert not theirs.tensor_exists("y")


def test_what_runs_cost_is_told(theirs, database):
    theirs.put_tensor("x", X)
    theirs.set_model("m", saved(Times(2)), "TORCH", tag="v1")
    for _ in range(3):
        theirs.run_model("m", inputs=["x"], outputs=["y"])

    (info,) = theirs.get_ai_info([database.address], "m")

    assert (info["type"], info["backend"], info["tag"]) == ("MODEL", "TORCH", "v1")
    assert (int(info["calls"]), int(info["samples"]), int(info["errors"])) == (3, 6, 0)
    assert int(info["duration"]) > 0


def test_models_run_on_each_node_of_a_cluster(tmp_path, monkeypatch):
    with Orchestrator(tmp_path, port=0, db_nodes=3, intra_op_threads=1) as cluster:
        for name, value in {**QUIET, "SSDB": cluster.address, "SR_DB_TYPE": "Clustered", "SR_CMD_TIMEOUT": "5"}.items():
            monkeypatch.setenv(name, value)
        client = smartredis.Client(cluster=True)
        client.set_script("s", "def half(x):\n    return x / 2\n")
        # On one node each.
        for name in ("b", "c", "d"):
            client.put_tensor(name, X)
            client.run_script("s", "half", [name], [f"half_{name}"])
            np.testing.assert_array_equal(client.get_tensor(f"half_{name}"), X / 2)
        client.delete_script("s")


def test_keys_of_one_run_on_several_nodes_are_refused_by_the_cluster(tmp_path):
    with Orchestrator(tmp_path, port=0, db_nodes=3, inference=False) as cluster:
        with redis.Redis(port=cluster.ports[0]) as node, pytest.raises(redis.ResponseError) as caught:
            node.execute_command("AI.MODELEXECUTE", "m", "INPUTS", 1, "a", "OUTPUTS", 1, "b")
        assert "Keys in request don't hash to the same slot" in str(caught.value)
