"""Models and scripts that programs run in a database: described, put there before the programs start."""

import json
from pathlib import Path

import pytest

from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    DuplicateNameError,
    PathNotFoundError,
    TensorModuleError,
    UnsupportedError,
)
from smartml.experiment import Model, RunSettings
from smartml.experiment.db_objects import from_fields, to_fields
from smartml.experiment.uploads import check_objects
from smartml.store.models import Gpus
from smartml.store.module import find_module

needs_module = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")

SCRIPT = "def double(x):\n    return 2 * x\n"


def double(x):
    return 2 * x


@pytest.fixture
def model():
    return Model("m", None, RunSettings("python", ["-c", "pass"]))


@pytest.fixture
def model_file(tmp_path):
    file = tmp_path / "net.pt"
    file.write_bytes(b"bytes of a model")
    return file


# On paper


def test_a_model_may_be_given_itself_or_by_its_file(model, model_file):
    model.add_ml_model("one", "torch", b"bytes", batch_size=8)
    model.add_ml_model("two", "ONNX", model_path=str(model_file), device="gpu")

    one, two = model.db_objects
    assert (one.options.backend, one.options.batch_size, one.model, one.file) == ("TORCH", 8, b"bytes", None)
    assert (two.options.backend, two.devices.device, two.model, two.file) == ("ONNX", "GPU", None, model_file)


def test_a_function_becomes_a_script_of_its_own(model):
    model.add_function("f", double)

    assert model.db_objects[0].script == SCRIPT


@pytest.mark.parametrize(
    ("device", "number", "first", "found"),
    [
        ("CPU", 1, 0, ("CPU", None)),
        ("GPU:1", 1, 0, ("GPU:1", None)),
        ("GPU", 1, 2, ("GPU:2", None)),
        ("GPU", 3, 1, ("GPU", Gpus(1, 3))),
    ],
)
def test_devices_are_one_or_several_gpus(model, device, number, first, found):
    model.add_script("s", SCRIPT, device=device, devices_per_node=number, first_device=first)

    devices = model.db_objects[0].devices
    assert (devices.device, devices.gpus) == found


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"model": None}, ArgumentValueError),
        ({"model_path": __file__}, ArgumentValueError),
        ({"model": None, "model_path": "not there"}, PathNotFoundError),
        ({"model": "text"}, ArgumentTypeError),
        ({"model": b""}, ArgumentValueError),
        ({"backend": "PICKLE"}, ArgumentValueError),
        ({"backend": None}, ArgumentValueError),
        ({"device": "TPU"}, ArgumentValueError),
        ({"devices_per_node": 2}, UnsupportedError),
        ({"first_device": 1}, UnsupportedError),
        ({"device": "GPU:1", "devices_per_node": 2}, ArgumentValueError),
        ({"device": "GPU", "devices_per_node": 0}, ArgumentValueError),
        ({"device": "GPU", "first_device": -1}, ArgumentValueError),
        ({"min_batch_size": 2}, ArgumentValueError),
        ({"name": ""}, ArgumentValueError),
        ({"name": 1}, ArgumentTypeError),
    ],
    ids=str,
)
def test_what_could_not_be_put_into_a_database_is_refused_at_once(model, arguments, error):
    with pytest.raises(error):
        model.add_ml_model(**{"name": "net", "backend": "TORCH", "model": b"bytes", **arguments})
    assert model.db_objects == ()


@pytest.mark.parametrize(
    "arguments", [{}, {"script": SCRIPT, "script_path": __file__}, {"script": " "}], ids=["none", "both", "empty"]
)
def test_a_script_that_is_none_is_refused(model, arguments):
    with pytest.raises(ArgumentValueError):
        model.add_script("s", **arguments)


def test_a_function_is_needed(model):
    with pytest.raises(ArgumentValueError):
        model.add_function("f")
    with pytest.raises(ArgumentTypeError):
        model.add_function("f", SCRIPT)


def test_models_and_scripts_of_one_program_have_names_of_their_own(model):
    model.add_ml_model("net", "TORCH", b"bytes")

    with pytest.raises(DuplicateNameError, match="'net'"):
        model.add_script("net", SCRIPT)


def test_an_ensemble_has_them_for_all_its_members(exp, model):
    ensemble = exp.create_ensemble("ens", run_settings=model.run_settings, replicas=2)
    ensemble.add_ml_model("net", "TORCH", b"bytes")
    ensemble.add_function("f", double)
    ensemble.add_model(model)

    assert [[one.name for one in member.db_objects] for member in ensemble] == [["net", "f"]] * 3
    with pytest.raises(DuplicateNameError):
        ensemble.add_script("f", SCRIPT)
    assert [len(member.db_objects) for member in ensemble] == [2] * 3


def test_they_are_shown_before_anything_starts(exp, model, model_file):
    model.add_ml_model("net", "torch", model_path=model_file, device="GPU", devices_per_node=3, first_device=1)
    model.add_function("f", double)

    assert [line for line in exp.preview(model).splitlines() if line.startswith("In Databases:")] == [
        f"In Databases: model 'net', TORCH on GPU:1 to GPU:3, from {model_file}",
        "In Databases: script 'f' on CPU, from memory",
    ]


# With a database on the node


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_they_travel_to_the_database_on_the_node(model, model_file, is_first):
    if is_first:
        model.colocate_db_tcp(0)
    model.add_ml_model("net", "TORCH", model_path=model_file, device="GPU", devices_per_node=2, batch_size=4)
    model.add_function("f", double)
    if not is_first:
        model.colocate_db_tcp(0)

    told = json.loads(model.run_settings.prelude[-1])
    assert tuple(map(from_fields, told["objects"])) == model.db_objects
    # Once more through the same: nothing is lost on the way.
    assert to_fields(tuple(map(from_fields, told["objects"])), "m") == model.colocated_database.objects


def test_a_model_from_memory_does_not_travel(model):
    model.colocate_db_tcp(0)

    with pytest.raises(UnsupportedError, match="model_path"):
        model.add_ml_model("net", "TORCH", b"bytes")
    assert model.db_objects == ()


def test_a_program_with_a_model_from_memory_gets_no_database_on_its_node(model):
    model.add_ml_model("net", "TORCH", b"bytes")

    with pytest.raises(UnsupportedError, match="model_path"):
        model.colocate_db_tcp(0)
    assert not model.colocated


def test_scripts_that_no_command_line_takes_do_not_travel(model):
    model.colocate_db_tcp(0)

    with pytest.raises(UnsupportedError, match="script_path"):
        model.add_script("s", SCRIPT + "#" * 200_000)


# Put there

RUN = """
import numpy as np, smartml
with smartml.Client() as client:
    client.put_tensor("x", np.arange(3, dtype="f4"))
    client.use_tensor_ensemble_prefix(False)
    client.put_tensor("x", np.arange(3, dtype="f4"))
    client.run_model("net", "x", f"y{__import__('os').environ['SSKEYOUT']}")
    client.run_script("f", "double", "x", "z")
"""


@needs_module
def test_members_of_an_ensemble_run_models_in_their_first_line(exp, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs torch (pip install 'smartml[torch]')")
    content = pytest.importorskip("torchscript").saved(torch.nn.ReLU())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    database = exp.create_database(port=0)
    ensemble = exp.create_ensemble("ens", run_settings=exp.create_run_settings("python", ["-c", RUN]), replicas=2)
    ensemble.add_ml_model("net", "TORCH", content)
    ensemble.add_function("f", double)

    exp.start(database, ensemble)

    assert exp.get_status(ensemble) == ["Completed"] * 2
    with database.connect() as client:
        found = client.get_tensors(["yens_0", "yens_1", "z"])
    assert [found[name].tolist() for name in found] == [[0, 1, 2], [0, 1, 2], [0, 2, 4]]


@needs_module
def test_every_database_of_the_experiment_gets_them(exp, program, model_file):
    databases = [exp.create_database(port=0), exp.create_database(port=0, db_identifier="second")]
    model = program("pass")
    model.add_script("s", SCRIPT)
    model.add_ml_model("net", "TORCH", model_path=model_file, device="GPU", devices_per_node=2)

    exp.start(*databases, model)

    for database in databases:
        with database.connect() as client:
            assert client.get_script("s") == SCRIPT
            assert client.get_model("net.GPU:1") == client.get_model("net") == b"bytes of a model"


@needs_module
def test_they_are_put_again_when_they_have_changed_or_are_gone(exp, program, model_file):
    database, model = exp.create_database(port=0), program("pass")
    model.add_ml_model("net", "TORCH", model_path=model_file)
    exp.start(database, model)
    with database.connect() as client:
        client.set_model("net", b"of somebody else", "TORCH")

        # It is there, and not ours to replace.
        exp.start(model)
        assert client.get_model("net") == b"of somebody else"

        model_file.write_bytes(b"trained a little longer")
        exp.start(model)
        assert client.get_model("net") == b"trained a little longer"

        client.delete_model("net")
        exp.start(model)
        assert client.get_model("net") == b"trained a little longer"


@needs_module
@pytest.mark.parametrize("connect", ["tcp", "uds"])
def test_the_database_on_the_node_has_them_when_the_program_begins(exp, program, model_file, tmp_path, connect):
    model = program(
        "import smartml; client = smartml.Client(); print(client.get_model('net'), client.get_script('f'), end='|')"
    )
    model.add_ml_model("net", "TORCH", model_path=model_file)
    if connect == "tcp":
        model.colocate_db_tcp(0)
    else:
        model.colocate_db_uds(tmp_path / "socket")
    model.add_function("f", double)

    exp.start(model)

    assert Path(model.path, "program.out").read_text() == f"{b'bytes of a model'!r} {SCRIPT}|"


@needs_module
def test_a_program_whose_database_cannot_have_them_does_not_begin(exp, program, model_file):
    model = program("open('begun', 'w')")
    model.colocate_db_tcp(0)
    model.add_ml_model("net", "TORCH", model_path=model_file)
    model_file.unlink()

    exp.start(model)

    assert exp.get_status(model) == ["Failed"]
    assert f"there is no file {model_file}" in Path(model.path, "program.err").read_text()
    assert not Path(model.path, "begun").exists()


def test_a_database_without_the_module_starts_no_program_that_needs_it(exp, program, monkeypatch):
    monkeypatch.setenv("SMARTML_TENSOR_MODULE", "none")
    model = program("open('begun', 'w')")
    model.add_script("s", SCRIPT)

    with pytest.raises(TensorModuleError, match="smartml module build"):
        exp.start(exp.create_database(port=0), model)
    assert not Path(model.path, "begun").exists()


def test_programs_may_share_a_model_but_not_a_name(exp, program):
    one, two = program("pass", "one"), program("pass", "two")
    one.add_script("s", SCRIPT)
    two.add_script("s", SCRIPT)
    check_objects([one, two], has_database=True)

    two.add_ml_model("net", "TORCH", b"bytes")
    one.add_ml_model("net", "TORCH", b"others")
    with pytest.raises(DuplicateNameError, match="'net'"):
        exp.start(one, two)


def test_without_any_database_they_are_missed(exp, program, caplog):
    model = program("pass")
    model.add_script("s", SCRIPT)

    exp.start(model)

    assert "program shall find 's' in a database, but the experiment has none" in caplog.text
