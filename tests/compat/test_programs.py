"""Programs that import SmartSim and SmartRedis alone, as their documentation shows them, run by smartml as they are.

Those that are about clients run with SmartRedis's own, where that is installed, and with smartml's under its name; the
others with the one that compat run takes.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from servers import find_free_port

from smartml.store.module import find_module

PROGRAMS = Path(__file__).with_name("programs")


def _is_installed(package):
    return importlib.util.find_spec(package) is not None


needs_module = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")
needs_torch = pytest.mark.skipif(not _is_installed("torch"), reason="needs PyTorch (pip install torch)")
CLIENTS = [
    pytest.param(
        "--real-smartredis",
        marks=[
            needs_module,
            pytest.mark.skipif(
                not _is_installed("smartredis"), reason="needs SmartRedis (pip install smartredis, up to Python 3.11)"
            ),
        ],
        id="SmartRedis's client",
    ),
    pytest.param("--no-real-smartredis", id="smartml's client"),
]
both_clients = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture
def run(tmp_path):
    """A function that runs a program in a folder of its own, and returns what it has found out."""

    def start(program, *arguments, client=None):
        flags = [client] if client else []
        command = [sys.executable, "-m", "smartml", "compat", "run", *flags, str(PROGRAMS / program), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr + _last_words(tmp_path)
        return json.loads((tmp_path / "results.json").read_text())

    return start


def _last_words(folder):
    """Return what the programs that a driver started have said of errors."""
    return "".join(f"\n{file}:\n{file.read_text()[-2000:]}" for file in folder.rglob("*.err") if file.stat().st_size)


def test_programs_are_started_waited_for_and_asked(run):
    found = run("getting_started_models.py")

    assert found["hello"] == "Hello, world!\n"
    assert found["states"] == ["Completed", "Failed"]
    assert found["outputs"] == ["green ['0']\n", "red ['3']\n"]
    assert found["was running"] and found["stopped"]
    assert all(word in found["summary"] for word in ("Entity-Type", "hello", "endless", "Cancelled"))
    assert found["mpirun"] == ["--n", "2", "--npernode", "2", "--bind-to", "core", "--host", "n1,n2"]


def test_ensembles_have_the_members_of_their_strategy(run):
    found = run("getting_started_ensembles.py")

    pairs = [(10, "iron"), (10, "copper"), (20, "iron"), (20, "copper")]
    grid = {f"grid_{number}": f"temperature {value} name {name}" for number, (value, name) in enumerate(pairs)}
    assert found["all_perm"] == grid
    assert found["step"] == {"diagonal_0": grid["grid_0"], "diagonal_1": grid["grid_3"].replace("iron", "copper")}
    assert list(found["own"].values()) == [grid["grid_2"], grid["grid_3"]]
    assert len(found["random"]) == 3 and set(found["random"].values()) < set(grid.values())
    assert found["replicas"] == ["again\n"] * 3
    assert found["prefixing"] is True
    assert found["states"] == ["Completed"] * 3
    assert found["arguments"] == [["--steps=1", "--rate=0.5"], ["--steps=2", "--rate=0.5"]]
    assert found["errors"] == [True, False]


@both_clients
def test_programs_share_a_database_and_keep_their_keys_apart(run, client):
    found = run("getting_started_database.py", client=client)

    assert found["own"] == [[[0, 1, 2], [3, 4, 5]], "float32"]
    assert found["states"] == ["Completed"] * 3
    assert found["consumer"] == ["producer_0 ['producer 1'] 1 [0]", "producer_1 ['producer 2'] 2 [0, 1]"]
    assert found["total"] == [[3.0] * 3] * 2
    assert found["exists"] == [True, False]
    assert found["lengths"] == [1, 1]
    assert found["identifiers"] == ["orchestrator"]
    assert found["maxmemory"] == str(100 * 1024**2)
    assert found["database"] == "Cancelled"


@both_clients
def test_a_flow_is_looked_at_while_it_is_computed(run, client):
    found = run("online_analysis.py", str(find_free_port()), client=client)

    rows = found["rows"]
    assert [row["step"] for row in rows] == list(range(20, 161, 20))
    # Nothing flows in or out.
    assert [row["mass"] for row in rows] == pytest.approx([24 * 64] * 8, rel=1e-9)
    assert all(row["inside"] == 0 and row["vorticity"] > 0.01 for row in rows)
    expected = [ux.sum() for _, ux, _, _ in program("lattice_boltzmann.py").simulate(steps=160)]
    assert [row["ux"] for row in rows] == pytest.approx(expected, rel=1e-12)
    assert found["state"] == "Completed"


def program(name):
    """Import one of the programs."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, PROGRAMS / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_programs_have_databases_of_their_own(run):
    port = find_free_port()
    found = run("colocated.py", str(port))

    assert [facts["address"] for facts in found["facts"]] == [f"127.0.0.1:{port}", f"unix://{found['socket']}"]
    assert [facts["kind"] for facts in found["facts"]] == ["Standalone"] * 2
    assert [facts["trace"] for facts in found["facts"]] == [3.0] * 2
    assert found["colocated"] == [True, True, False]
    assert found["states"] == ["Completed"] * 2
    assert found["log"]


@both_clients
def test_a_program_reads_from_one_database_and_writes_to_another(run, client):
    found = run("multi_database.py", *(str(find_free_port()) for _ in range(3)), client=client)

    assert found["taken"] == [0, 2, 4, 6, 8]
    assert found["output"] == "False False\n"
    assert found["refused"]
    assert found["identifiers"] == ["cold", "hot"]
    assert found["states"] == ["Cancelled"] * 2


def check_surrogate(found):
    assert found["states"] == ["Completed"] * 2
    assert found["simulation"].splitlines()[-1] == "uploaded 6 plates samples targets"
    # The last epochs had all of it.
    assert found["samples"] == sorted(found["samples"]) and found["samples"][-1] == 192
    assert found["losses"][-1] < 0.5 * found["losses"][0]


@pytest.mark.parametrize("workers", [0, 1])
@needs_torch
def test_a_network_in_torch_learns_while_the_simulation_runs(run, workers):
    found = run("train_surrogate.py", "surrogate_in_torch.py", str(find_free_port()), str(workers))
    check_surrogate(found)
    assert found["dtype"] == "torch.float32"


@pytest.mark.long
@pytest.mark.skipif(not _is_installed("tensorflow"), reason="needs TensorFlow (pip install tensorflow-cpu)")
def test_a_network_in_tensorflow_learns_while_the_simulation_runs(run):
    check_surrogate(run("train_surrogate.py", "surrogate_in_tensorflow.py", str(find_free_port())))


@both_clients
@needs_module
@needs_torch
def test_a_client_has_models_and_scripts_run_in_the_database(run, client):
    found = run("inference_by_client.py", str(find_free_port()), client=client)

    assert found["model"] < 1e-6 and found["model from a file"] < 1e-6 and found["function"] < 1e-6
    assert found["kept"] and found["exists"] == [True, False]
    assert found["script"] == [30.0, 50.0] and found["text"]
    assert len(found["errors"]) == 2
    assert found["deleted"]


@needs_module
@needs_torch
def test_programs_find_the_models_and_scripts_of_their_driver(run):
    found = run("inference_by_driver.py", str(find_free_port()), str(find_free_port()))

    assert found["answers"] == [[[9.0, 25.0]]] * 3
    assert found["states"] == ["Completed"] * 3
    assert found["refused"] == ["SSUnsupportedError", "ValueError", "ValueError"]
