"""Keys that hold values of other modules, RedisAI's above all: told apart from tensors, in words that help."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import redis
from servers import KINDS, server_program

from smartml import Client, Dataset
from smartml.errors import TensorFormatError
from smartml.feeds import DataDownloader
from smartml.store.descriptions import read_descriptions
from smartml.store.listing import list_keys

OF_REDISAI = (
    r"^key '{}' holds a value of the Redis module type 'AI_TENSOR', which RedisAI wrote and only RedisAI can open: "
    r"put it again through smartml \(or the tensor module\)$"
)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    built = tmp_path_factory.mktemp("module") / "foreign.so"
    source = Path(__file__).with_name("foreign_module.c")
    subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", built, source], check=True)
    return built


@pytest.fixture(params=KINDS)
def address(request, module, start_server):
    """A server of each version, with a value of RedisAI's type and one of another module's."""
    server = start_server("--loadmodule", str(module), binary=server_program(request.param))
    with redis.Redis(port=server.port) as raw:
        raw.execute_command("FOREIGN.PUT", "a")
        raw.execute_command("OTHER.PUT", "b")
    return server.address


@pytest.fixture
def client(address):
    with Client(address=address) as connected:
        connected.put_tensors({"good": np.arange(3), "points_0": np.zeros((2, 3))})
        yield connected


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_tensor("a"),
        lambda client: client.get_tensor("a", out=np.zeros(3)),
        lambda client: client.get_tensors(["good", "a", "good"]),
        lambda client: client.copy_tensor("a", "c"),
        lambda client: read_descriptions(client.database, [b"good", b"a"]),
    ],
    ids=["get", "get into", "get many", "copy", "describe"],
)
def test_a_tensor_of_redisai_is_told_from_ours(client, call):
    with pytest.raises(TensorFormatError, match=OF_REDISAI.format("a")):
        call(client)


def test_a_value_of_another_module_is_named_by_its_type(client):
    with pytest.raises(
        TensorFormatError,
        match="key 'b' holds a value of the Redis module type 'OTHERTYPE', which only the foreign module",
    ):
        client.get_tensor("b")


def test_a_dataset_whose_tensor_redisai_wrote_is_refused(client, address):
    dataset = Dataset("d")
    dataset.add_tensor("x", np.zeros(3))
    client.put_dataset(dataset)
    with redis.Redis(port=int(address.split(":")[1])) as raw:
        raw.execute_command("FOREIGN.PUT", "{d}.x")

    with pytest.raises(TensorFormatError, match=OF_REDISAI.format("{d}.x")):
        client.get_dataset("d")


def test_a_feed_leaves_out_what_redisai_wrote(client, address):
    with redis.Redis(port=int(address.split(":")[1])) as raw:
        raw.execute_command("FOREIGN.PUT", "points_1")
    client.put_tensor("points_2", np.ones((2, 3)))

    with DataDownloader(sample_prefix="points", address=address, batch_size=2, init_samples=False) as feed:
        with pytest.raises(TensorFormatError, match=OF_REDISAI.format("points_1")):
            feed.update_data()
        assert feed.num_samples == 4


def test_foreign_values_are_listed_exist_and_can_be_replaced(client):
    kinds = {found.key: found.kind for found in list_keys(client.database)}

    assert kinds == {"a": "AI_TENSOR", "b": "OTHERTYPE", "good": "tensor", "points_0": "tensor"}
    assert client.database.exist([b"a", b"b", b"c"]) == [True, True, False]
    client.rename_tensor("a", "c")
    client.put_tensor("c", np.arange(3))
    assert client.get_tensor("c").tolist() == [0, 1, 2]
    client.delete_tensor("b")
    assert not client.key_exists("b")
