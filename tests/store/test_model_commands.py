"""Models and scripts that the database runs: every method of the client, on one server and in a cluster."""

import threading

import numpy as np
import pytest

from smartml import Client, Orchestrator
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    InferenceError,
    ModelFileError,
    ModelNotFoundError,
    ScriptNotFoundError,
    StoreReplyError,
    StoreTimeoutError,
    TensorModuleError,
    TensorNotFoundError,
)
from smartml.store.module import find_module
from smartml.store.slots import key_slot

pytest.importorskip("torch", reason="needs torch (pip install 'smartml[torch]')")
networks = pytest.importorskip("networks")
torchscript = pytest.importorskip("torchscript")
pytestmark = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")

X = np.arange(6, dtype="f4").reshape(2, 3)


@pytest.fixture(scope="module")
def affine():
    return torchscript.saved(networks.Affine(1))


@pytest.fixture(params=["a server", "a cluster"])
def client(request, inference_database):
    """A client of an empty database that runs models."""
    database = inference_database(request.param)
    with database.connect() as connected:
        for address in map(str, connected.database.server_addresses()):
            connected.flush_db([address])
        yield connected


# Running


def test_a_model_runs_on_tensors_of_the_database(client, affine):
    client.set_model("net", affine, "TORCH")
    client.put_tensor("x", X)

    client.run_model("net", ["x"], ["y"])

    np.testing.assert_array_equal(client.get_tensor("y"), 2 * X + 1, strict=True)


def test_a_model_may_take_and_give_several_tensors(client):
    client.set_model("two", torchscript.saved(networks.Two()), "torch")
    client.put_tensors({"a": X, "b": X[::-1]})

    client.run_model("two", inputs=["a", "b"], outputs=["sum", "difference"])

    found = client.get_tensors(["sum", "difference"])
    np.testing.assert_array_equal(found["sum"], X + X[::-1])
    np.testing.assert_array_equal(found["difference"], X - X[::-1])


def test_one_tensor_alone_needs_no_list(client, affine):
    client.set_model("net", affine, "TORCH")
    client.put_tensor("x", X)

    client.run_model("net", "x", "y")

    np.testing.assert_array_equal(client.get_tensor("y"), 2 * X + 1)


def test_a_state_may_be_stepped_in_place(client, affine):
    client.set_model("net", affine, "TORCH")
    client.put_tensor("state", np.zeros(2, "f4"))

    for _ in range(3):
        client.run_model("net", "state", "state")

    np.testing.assert_array_equal(client.get_tensor("state"), [7, 7])


@pytest.mark.parametrize("size", [0, 3, 100_000])
def test_a_model_may_write_into_what_it_gets(client, size):
    client.set_model("net", torchscript.saved(networks.InPlace()), "TORCH")
    client.put_tensor("x", np.arange(size))

    client.run_model("net", "x", "y")

    np.testing.assert_array_equal(client.get_tensor("y"), np.arange(1, size + 1))
    np.testing.assert_array_equal(client.get_tensor("x"), np.arange(size))


def test_functions_of_a_script_run_on_tensors_of_the_database(client):
    client.set_script("script", networks.SCRIPT)
    client.put_tensors({"a": X, "b": X[::-1]})

    client.run_script("script", "double", "a", "twice")
    client.run_script("script", "sum_and_difference", ["a", "b"], ["sum", "difference"])

    found = client.get_tensors(["twice", "sum", "difference"])
    np.testing.assert_array_equal(found["twice"], 2 * X)
    np.testing.assert_array_equal(found["sum"], X + X[::-1])
    np.testing.assert_array_equal(found["difference"], X - X[::-1])


def halve(x):
    return x / 2


def test_a_function_of_the_program_runs_in_the_database(client):
    client.set_function("f", halve)
    client.put_tensor("x", X)

    client.run_script("f", "halve", ["x"], ["y"])

    np.testing.assert_array_equal(client.get_tensor("y"), X / 2)


def test_callers_that_use_the_same_tensors_at_the_same_time_do_not_disturb_each_other(client, affine, in_background):
    client.set_model("net", affine, "TORCH")
    client.put_tensor("x", X)
    barrier = threading.Barrier(4)

    def run(number):
        barrier.wait()
        for _ in range(10):
            client.run_model("net", "x", f"y{number % 2}")
            np.testing.assert_array_equal(client.get_tensor(f"y{number % 2}"), 2 * X + 1)

    for number in range(4):
        in_background(lambda number=number: run(number))
    in_background.join()


def test_a_run_leaves_nothing_but_its_outputs(client, affine):
    client.set_model("net", affine, "TORCH")
    client.put_tensor("x", X)
    before = set(client.database.scan(b"*"))

    client.run_model("net", "x", "y")
    with pytest.raises(InferenceError):
        client.run_model("net", ["x", "x"], ["z"])

    assert set(client.database.scan(b"*")) - before == {"y"}


def test_a_model_runs_when_slots_have_moved_since_it_was_stored(inference_database, affine):
    database = inference_database("a cluster")
    with database.connect() as client:
        client.put_tensor("x", X)
        client.set_model("net", affine, "TORCH")
        nodes = {ask(client, node, "CLUSTER", "MYID"): node for node in client.database.server_addresses()}
        before = key_slot(b"x") - 1
        home = next(name for name, node in nodes.items() if node == client.database.server_of(b"x"))
        other = next(name for name in nodes if name != home)
        try:
            # The row of slots that the tensor is in begins anew with its own.
            for node in nodes.values():
                ask(client, node, "CLUSTER", "SETSLOT", str(before), "NODE", other.decode())
            with database.connect() as late:
                assert key_slot(b"x") in late.database.first_slots()
                late.run_model("net", "x", "y")
            np.testing.assert_array_equal(client.get_tensor("y"), 2 * X + 1)
        finally:
            for node in nodes.values():
                ask(client, node, "CLUSTER", "SETSLOT", str(before), "NODE", home.decode())


def ask(client, node, *words):
    return client.database.ask_server(node, *words)


# Keeping


def test_a_model_is_there_until_it_is_deleted(client, affine):
    assert not client.model_exists("net") and not client.poll_model("net", 1, 2)

    client.set_model("net", affine, "TORCH", tag="v1")
    assert client.model_exists("net") and client.poll_model("net", 1, 1)
    assert client.get_model("net") == affine

    client.delete_model("net")
    assert not client.model_exists("net") and not set(client.database.scan(b"*"))


def test_a_script_is_there_until_it_is_deleted(client):
    assert not client.script_exists("s") and not client.poll_script("s", 1, 2)

    client.set_script("s", networks.SCRIPT)
    assert client.script_exists("s") and client.poll_script("s", 1, 1)
    assert client.get_script("s") == networks.SCRIPT

    client.delete_script("s")
    assert not client.script_exists("s") and not set(client.database.scan(b"*"))


def test_a_model_that_is_set_again_is_another_one(client):
    client.put_tensor("x", X)
    for more in (1, 5):
        client.set_model("net", torchscript.saved(networks.Affine(more)), "TORCH")
        client.run_model("net", "x", "y")
        np.testing.assert_array_equal(client.get_tensor("y"), 2 * X + more)


def test_files_are_read(client, affine, tmp_path):
    (tmp_path / "net.pt").write_bytes(affine)
    (tmp_path / "script.py").write_text(networks.SCRIPT)
    client.put_tensor("x", X)

    client.set_model_from_file("net", tmp_path / "net.pt", "TORCH")
    client.set_script_from_file("script", str(tmp_path / "script.py"))
    client.run_model("net", "x", "y")
    client.run_script("script", "double", "x", "z")

    np.testing.assert_array_equal(client.get_tensor("y"), 2 * X + 1)
    np.testing.assert_array_equal(client.get_tensor("z"), 2 * X)


def test_models_travel_in_chunks_of_any_size(client, affine):
    before = client.database.ask_server(client.database.server_addresses()[0], "AI.CONFIG", "GET", "MODEL_CHUNK_SIZE")
    client.put_tensor("x", X)
    try:
        client.set_model_chunk_size(100)
        client.set_model("net", affine, "TORCH")
    finally:
        client.set_model_chunk_size(before)

    assert client.get_model("net") == affine
    client.run_model("net", "x", "y")


def test_copies_for_several_gpus_come_and_go_together(client, affine, tmp_path):
    (tmp_path / "net.pt").write_bytes(affine)
    (tmp_path / "script.py").write_text(networks.SCRIPT)
    names = [name for kind in ("m", "f", "s", "t", "u") for name in (kind, f"{kind}.GPU:1", f"{kind}.GPU:2")]

    client.set_model_multigpu("m", affine, "TORCH", 1, 2)
    client.set_model_from_file_multigpu("f", tmp_path / "net.pt", "TORCH", 1, 2)
    client.set_script_multigpu("s", networks.SCRIPT, 1, 2)
    client.set_script_from_file_multigpu("t", tmp_path / "script.py", 1, 2)
    client.set_function_multigpu("u", halve, 1, 2)
    assert [name for name in names if not client.model_exists(name)] == []
    assert client.get_model("m.GPU:2") == affine and client.get_script("s.GPU:1") == networks.SCRIPT

    for name in ("m", "f"):
        client.delete_model_multigpu(name, 1, 2)
    for name in ("s", "t", "u"):
        client.delete_script_multigpu(name, 1, 2)
    assert not set(client.database.scan(b"*"))


def test_one_of_several_gpus_is_chosen_by_the_callers_number(client):
    client.put_tensor("x", X)

    # Which one, the error says: this test needs no GPU.
    with pytest.raises(ModelNotFoundError, match=r"net\.GPU:3"):
        client.run_model_multigpu("net", 5, 2, 2, "x", "y")
    with pytest.raises(ScriptNotFoundError, match=r"s\.GPU:2"):
        client.run_script_multigpu("s", "f", "x", "y", 4, 2, 2)


def test_runs_are_counted_and_forgotten(client, affine):
    client.set_model("net", affine, "TORCH", tag="v1")
    client.put_tensor("x", X)
    client.run_model("net", "x", "y")
    servers = [str(address) for address in client.database.server_addresses()]

    found = client.get_ai_info(servers, "net", reset_stat=True)

    assert {(one["backend"], one["device"], one["tag"]) for one in found} == {("TORCH", "CPU", "v1")}
    assert sum(int(one["calls"]) for one in found) == 1 and sum(int(one["samples"]) for one in found) == 2
    assert sum(int(one["calls"]) for one in client.get_ai_info(servers, "net")) == 0
    with pytest.raises(ModelNotFoundError, match="'net'"):
        client.get_ai_info(servers, "net_2")


# Prefixes


def test_models_have_a_prefix_only_if_it_is_asked_for(client, affine, monkeypatch):
    monkeypatch.setenv("SSKEYIN", "other,own")
    monkeypatch.setenv("SSKEYOUT", "own")
    settings = client.database.settings
    with Client(settings.cluster, [str(one) for one in settings.addresses]) as prefixed:
        prefixed.set_model("shared", affine, "TORCH")
        prefixed.use_model_ensemble_prefix(True)
        prefixed.set_model("net", affine, "TORCH")
        prefixed.put_tensor("x", X)
        assert not prefixed.model_exists("net")
        prefixed.set_data_source("own")
        assert prefixed.model_exists("net")
        prefixed.run_model("net", "x", "y")

    assert client.model_exists("shared") and client.model_exists("own.net") and not client.model_exists("net")
    np.testing.assert_array_equal(client.get_tensor("own.y"), 2 * X + 1)


# What goes wrong


def test_a_missing_model_names_those_that_are_there(client, affine):
    client.set_model("network_1", affine, "TORCH")
    client.put_tensor("network_2", X)
    client.put_tensor("x", X)

    for act in (
        lambda: client.run_model("network_3", "x", "y"),
        lambda: client.get_model("network_3"),
        lambda: client.delete_model("network_3"),
    ):
        with pytest.raises(ModelNotFoundError, match="network_3") as found:
            act()
        # What looks alike, but is no model, is no use.
        assert "'network_1'" in str(found.value) and "network_2" not in str(found.value)


def test_a_missing_script_names_those_that_are_there(client):
    client.set_script("script_1", networks.SCRIPT)
    client.put_tensor("x", X)

    for act in (
        lambda: client.run_script("script_2", "double", "x", "y"),
        lambda: client.get_script("script_2"),
        lambda: client.delete_script("script_2"),
    ):
        with pytest.raises(ScriptNotFoundError, match="'script_1'"):
            act()


def test_a_missing_input_is_named(client, affine):
    client.set_model("two", torchscript.saved(networks.Two()), "TORCH")
    client.put_tensor("a", X)

    with pytest.raises(TensorNotFoundError, match="'b'"):
        client.run_model("two", ["a", "b"], ["sum", "difference"])


def test_the_error_of_a_model_says_what_it_said(client, affine):
    client.set_model("net", torchscript.saved(networks.Two()), "TORCH")
    client.put_tensors({"a": np.zeros((2, 3), "f4"), "b": np.zeros((4, 5), "f4")})

    with pytest.raises(InferenceError, match=r"(?s)model 'net'.*size of tensor"):
        client.run_model("net", ["a", "b"], ["sum", "difference"])
    assert not client.tensor_exists("sum")


def test_bytes_that_are_no_model_fail_when_they_are_run(client):
    client.set_model("net", b"no model", "TORCH")
    client.put_tensor("x", X)

    with pytest.raises(InferenceError, match="'net'"):
        client.run_model("net", "x", "y")


def test_a_script_that_is_none_fails_when_it_is_run(client):
    client.set_script("s", "def f(x:\n")
    client.set_script("t", networks.SCRIPT)
    client.put_tensor("x", X)

    with pytest.raises(InferenceError):
        client.run_script("s", "f", "x", "y")
    with pytest.raises(InferenceError, match="no_such"):
        client.run_script("t", "no_such", "x", "y")


def test_a_key_that_holds_something_else_is_no_model(client):
    client.put_tensor("x", X)

    with pytest.raises((StoreReplyError, InferenceError, ModelNotFoundError)):
        client.run_model("x", "x", "y")


@pytest.mark.parametrize(
    ("call", "arguments", "error"),
    [
        ("set_model", ("net", "text", "TORCH"), ArgumentTypeError),
        ("set_model", ("net", b"", "TORCH"), ArgumentValueError),
        ("set_model", ("", b"bytes", "TORCH"), ArgumentValueError),
        ("set_model", (1, b"bytes", "TORCH"), ArgumentTypeError),
        ("set_model", ("net", b"bytes", "PICKLE"), ArgumentTypeError),
        ("set_model", ("net", b"bytes", "TORCH", "TPU"), ArgumentTypeError),
        ("set_model_from_file", ("net", "not there", "TORCH"), ModelFileError),
        ("set_model_from_file", ("net", 1, "TORCH"), ArgumentTypeError),
        ("set_model_multigpu", ("net", b"bytes", "TORCH", -1, 1), ArgumentValueError),
        ("set_model_multigpu", ("net", b"bytes", "TORCH", 0, 0), ArgumentValueError),
        ("set_script", ("s", b"bytes"), ArgumentTypeError),
        ("set_script", ("s", "def f(): pass", "TPU"), ArgumentTypeError),
        ("set_script_from_file", ("s", "not there"), ModelFileError),
        ("set_function", ("s", "text"), ArgumentTypeError),
        ("run_model", ("net", [], ["y"]), ArgumentValueError),
        ("run_model", ("net", ["x"]), ArgumentValueError),
        ("run_model", ("net", 1, "y"), ArgumentTypeError),
        ("run_model", ("net", ["x", ""], "y"), ArgumentValueError),
        ("run_model_multigpu", ("net", -1, 0, 1, "x", "y"), ArgumentValueError),
        ("run_script", ("s", "", "x", "y"), ArgumentValueError),
        ("run_script", ("s", None, "x", "y"), ArgumentTypeError),
        ("set_model_chunk_size", (0,), ArgumentValueError),
        ("set_model_chunk_size", ("1",), ArgumentTypeError),
        ("use_model_ensemble_prefix", (1,), ArgumentTypeError),
    ],
    ids=str,
)
def test_arguments_that_cannot_work_are_refused_before_anything_is_sent(inference_database, call, arguments, error):
    with inference_database("a server").connect() as client, pytest.raises(error):
        getattr(client, call)(*arguments)


def test_a_run_that_takes_too_long_is_given_up(client, monkeypatch):
    client.set_script("s", networks.SCRIPT)
    client.put_tensor("x", X)
    client.run_script("s", "double", "x", "y")
    client.set_model("slow", torchscript.saved(networks.Slow()), "TORCH")

    with monkeypatch.context() as context, pytest.raises(StoreTimeoutError, match="SR_MODEL_TIMEOUT"):
        context.setenv("SR_MODEL_TIMEOUT", "1")
        client.run_model("slow", "x", "z")
    assert not client.tensor_exists("z")
    client.run_model("slow", "x", "z")
    np.testing.assert_array_equal(client.get_tensor("z"), X)


def test_a_client_waits_for_as_long_as_it_was_told(inference_database):
    database = inference_database("a server")
    with database.connect() as client:
        client.set_model("slow", torchscript.saved(networks.Slow()), "TORCH")
        client.put_tensor("x", X)
        client.run_model("slow", "x", "z")
    with database.connect(timeout_s=0.02) as client, pytest.raises(StoreTimeoutError, match="timeout_s"):
        client.run_model("slow", "x", "z")


def test_the_time_that_a_run_may_wait_is_a_number(inference_database, affine, monkeypatch):
    monkeypatch.setenv("SR_MODEL_TIMEOUT", "soon")

    with (
        inference_database("a server").connect() as client,
        pytest.raises(ArgumentValueError, match="SR_MODEL_TIMEOUT"),
    ):
        client.run_model("net", "x", "y")


def test_a_server_without_the_module_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("SMARTML_TENSOR_MODULE", "none")

    with Orchestrator(port=0) as database, database.connect() as client:
        client.put_tensor("x", X)
        for act in (
            lambda: client.set_model("net", b"bytes", "TORCH"),
            lambda: client.set_script("s", networks.SCRIPT),
            lambda: client.run_model("net", "x", "y"),
        ):
            with pytest.raises(TensorModuleError, match="smartml module build"):
                act()
