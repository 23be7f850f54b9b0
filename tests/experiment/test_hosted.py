"""Databases on the hosts of a real Slurm: as steps in an allocation, and as batch jobs of their own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from slurm import PBS_PLUGIN

from smartml.errors import ArgumentValueError, NotStartedError, PortTakenError, ServerStartError
from smartml.experiment import Experiment, Orchestrator

PUT_AND_GET = """
import os, numpy as np, smartml
with smartml.Client() as client:
    for number in range(30):
        client.put_tensor(f"x_{number}", np.full(3, number))
    print(sum(client.get_tensor(f"x_{number}").sum() for number in range(30)), os.environ["SR_DB_TYPE"])
"""


@pytest.fixture
def exp(tmp_path, slurm):
    """An experiment on Slurm; all that it started is stopped in the end."""
    made = Experiment("hosted", tmp_path, launcher="slurm")
    yield made
    made.stop()


@pytest.fixture
def allocation(slurm):
    """Three nodes of Slurm for as long as the test takes."""
    done = slurm.ask("salloc", "--no-shell", "--nodes=3", "--ntasks-per-node=4", "--job-name=test")
    assert done.returncode == 0, done.stderr
    return slurm.jobs()[0]


@pytest.fixture
def producer(exp, allocation):
    """A step that puts tensors and gets them back."""
    settings = exp.create_run_settings("python", ["-c", PUT_AND_GET], run_command="srun", alloc=allocation)
    settings.set_tasks(1)
    settings.set_nodes(1)
    return exp.create_model("producer", settings)


def words_of(model, kind="out"):
    return Path(model.path, f"{model.name}.{kind}").read_text().split()


@pytest.mark.parametrize(("db_nodes", "kind"), [(1, "Standalone"), (3, "Clustered")])
def test_a_step_uses_the_database_that_runs_on_the_nodes_of_its_allocation(
    exp, allocation, producer, slurm, db_nodes, kind, alive
):
    db = exp.create_database(0, db_nodes=db_nodes, interface="lo", alloc=allocation)
    exp.start(db, producer)
    assert exp.get_status(producer, db) == ["Completed", "Running"]
    assert words_of(producer) == [str(3 * sum(range(30))), kind]
    steps = slurm.run("squeue", "--steps", "--noheader", f"--jobs={allocation}", "--format=%j %N").split()
    names = [f"orchestrator_{index}" for index in range(3)] if db_nodes == 3 else ["orchestrator"]
    placed = dict(zip(steps[::2], steps[1::2], strict=True))
    assert [placed[name] for name in names] == ["n1", "n2", "n3"][:db_nodes]
    exp.stop()
    assert exp.get_status(db) == ["Cancelled"]
    assert not any(alive(pid) for pid in db.pids)
    assert "Ready to accept connections" in Path(db.log).read_text()


def test_a_batch_job_is_a_database_that_lives_on_and_is_found_again(exp, slurm, tmp_path, alive):
    db = exp.create_database(0, db_nodes=3, interface="lo", batch=True, time="00:10:00")
    exp.start(db)
    (job,) = slurm.jobs()
    assert exp.get_status(db) == ["Running"]
    assert json.loads(Path(db.checkpoint_file).read_text())["jobs"][0]["job"] == job
    with db.connect() as client:
        client.put_tensor("x", np.arange(3))
    assert slurm.run("squeue", "--noheader", "--format=%l", f"--jobs={job}").strip() == "10:00"
    found = Orchestrator.attach(db.checkpoint_file)
    assert (found.address, found.launcher, found.status) == (db.address, "slurm", "Running")
    other = Experiment("other", tmp_path, launcher="slurm")
    again = other.reconnect_orchestrator(db.path)
    with again.connect() as client:
        assert client.get_tensor("x").tolist() == [0, 1, 2]
    again.stop()
    assert not any(alive(pid) for pid in db.pids)
    with pytest.raises(NotStartedError):
        Orchestrator.attach(db.path)


def test_an_experiment_finds_the_batch_job_of_its_database(exp, slurm, tmp_path, eventually):
    db = exp.create_database(0, interface="lo", batch=True)
    exp.start(db)
    attached = Experiment.attach(tmp_path)
    assert attached.get_status("orchestrator") == ["Running"]
    assert attached.db_identifiers == {"orchestrator"}
    attached.stop()
    eventually(lambda: slurm.jobs() == [])


def test_the_end_of_the_database_s_job_is_noticed(exp, slurm, eventually, caplog):
    db = exp.create_database(0, interface="lo", batch=True)
    exp.start(db)
    slurm.run("scancel", *slurm.jobs())
    eventually(lambda: exp.get_status(db) == ["Cancelled"])
    assert "was cancelled, and not by this script" in caplog.text
    eventually(lambda: not Path(db.checkpoint_file).exists())


def test_a_node_of_a_database_that_fails_is_noticed_and_named(exp, slurm, allocation, eventually, caplog):
    db = exp.create_database(0, db_nodes=3, interface="lo", alloc=allocation)
    exp.start(db)
    os.kill(db.pids[1], signal.SIGKILL)
    eventually(lambda: exp.get_status(db) == ["Failed"])
    eventually(lambda: "node orchestrator_1" in caplog.text)


def test_a_program_that_cannot_run_there_is_told_from_the_host(exp, allocation, monkeypatch):
    monkeypatch.setenv("SMARTML_REDIS_SERVER", "/no/such/server")
    with pytest.raises(ServerStartError, match=r"orchestrator cannot run on n1: .*/no/such/server"):
        exp.start(exp.create_database(0, interface="lo", alloc=allocation))


def test_an_interface_is_one_of_the_host(exp, allocation):
    with pytest.raises(ServerStartError, match="cannot run on n1: network interface 'hsn7' does not exist"):
        exp.start(exp.create_database(0, interface="hsn7", alloc=allocation))


def test_a_port_that_is_taken_there_is_named(exp, slurm, eventually):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} is taken by another program on 127.0.0.1"):
            exp.start(exp.create_database(port, interface="lo", batch=True))
    eventually(lambda: slurm.jobs() == [])


def test_without_an_allocation_there_is_no_host(exp):
    with pytest.raises(ArgumentValueError, match="must know where to run it"):
        exp.start(exp.create_database(0))


@pytest.fixture
def mpi(tmp_path, monkeypatch):
    """An experiment whose launcher starts programs by the MPI of this environment."""
    found = Path(sys.executable).with_name("mpirun")
    if not found.exists():
        pytest.skip("no mpirun beside Python: pip install mpich")
    monkeypatch.setenv("PATH", f"{found.parent}:{os.environ['PATH']}")
    made = Experiment("mpi", tmp_path, launcher="sge")
    yield made
    made.stop()


@pytest.mark.parametrize("single_cmd", [False, True])
def test_mpirun_starts_a_cluster_whose_servers_share_a_host(mpi, single_cmd, caplog, alive):
    db = mpi.create_database(
        0, db_nodes=3, interface="lo", hosts="localhost", run_command="mpirun", single_cmd=single_cmd
    )
    mpi.start(db)
    assert "has 3 servers on 1 hosts (localhost): some share one" in caplog.text
    assert len(db.jobs) == (1 if single_cmd else 3)
    assert len(set(db.ports)) == len(set(db.logs)) == len(set(db.pids)) == 3
    with db.connect() as client:
        client.put_tensor("x", np.arange(3))
        assert client.get_tensor("x").tolist() == [0, 1, 2]
    mpi.stop()
    assert not any(alive(pid) for pid in db.pids)
    assert ["Ready to accept connections" in Path(log).read_text() for log in db.logs] == [True] * 3


def test_one_step_of_slurm_runs_all_servers(exp, allocation):
    options = {"replicas": 1, "single_cmd": True, "persistence": "rdb"}
    db = exp.create_database(0, db_nodes=3, interface="lo", alloc=allocation, **options)
    exp.start(db)
    assert len(db.jobs) == 1 and db.is_active()
    assert len(exp.summary().splitlines()) == 2 + 1
    with db.connect() as client:
        client.put_tensor("x", np.arange(3))
    exp.stop()
    assert exp.get_status(db) == ["Cancelled"]
    assert ["ready to exit" in Path(log).read_text() for log in db.logs] == [True] * 6


def test_a_cluster_with_replicas_is_stopped_in_order_with_its_job(exp, slurm, eventually):
    db = exp.create_database(0, db_nodes=3, replicas=1, interface="lo", batch=True, hosts=["n1", "n2", "n3"])
    exp.start(db)
    hosts = slurm.run("squeue", "--steps", "--noheader", "--format=%j %N").split()
    placed = dict(zip(hosts[::2], hosts[1::2], strict=True))
    assert [placed[f"orchestrator_{index}"] for index in range(6)] == ["n1", "n2", "n3", "n2", "n3", "n1"]
    exp.stop()
    assert ["ready to exit" in Path(log).read_text() for log in db.logs] == [True] * 6
    eventually(lambda: slurm.jobs() == [])


def test_a_database_with_a_password_keeps_its_data_from_one_job_to_the_next(exp, slurm, tmp_path, eventually, caplog):
    options = {"interface": "lo", "batch": True, "persistence": "rdb", "password": True}
    for number in range(2):
        db = Orchestrator(tmp_path / "db", 0, launcher="slurm", db_nodes=3, **options)
        db.start()
        with db.connect() as client:
            if number == 0:
                client.put_tensor("x", np.arange(3))
            assert client.get_tensor("x").tolist() == [0, 1, 2]
            assert Orchestrator.attach(db.path).is_active()
        db.stop()
        eventually(lambda: slurm.jobs() == [])
    assert "ERROR" not in caplog.text
    db.remove_stale_files()
    left = {f"orchestrator_{index}.{kind}" for index in range(3) for kind in ("rdb", "nodes")}
    assert {file.name for file in Path(db.path).iterdir()} == {*left, "orchestrator.auth"}


def test_a_script_in_an_allocation_uses_its_hosts_and_leaves_nothing_behind(tmp_path, slurm, eventually, alive):
    (tmp_path / "launch.py").write_text(
        "import os, signal\n"
        "from smartml.experiment import Experiment\n"
        "exp = Experiment('exp', launcher='slurm')\n"
        "db = exp.create_database(0, db_nodes=3, interface='lo')\n"
        "exp.start(db)\n"
        "print(*db.pids, db.is_active(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        ["salloc", "--quiet", "--nodes=3", sys.executable, "launch.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    *pids, is_active = done.stdout.split()
    assert is_active == "True" and len(pids) == 3, done.stderr
    eventually(lambda: not any(alive(int(pid)) for pid in pids))


def test_a_job_that_waits_in_the_queue_is_taken_back_on_an_interrupt(script, slurm, eventually):
    slurm.run("salloc", "--no-shell", "--nodes=4", "--exclusive", "--job-name=test")
    (blocking,) = slurm.jobs()
    process = script(
        "from smartml.experiment import Orchestrator\nOrchestrator('db', 0, 'lo', 'slurm', batch=True).start()"
    )
    eventually(lambda: len(slurm.jobs()) == 2)
    process.send_signal(signal.SIGINT)
    eventually(lambda: slurm.jobs() == [blocking])
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]


def test_torque_s_commands_run_a_cluster_by_mpirun(slurm, tmp_path, monkeypatch, eventually, alive):
    found = Path(sys.executable).with_name("mpirun")
    if not (found.exists() and PBS_PLUGIN.exists()):
        pytest.skip("no mpirun beside Python, or no qsub: pip install mpich; apt-get install slurm-wlm-torque")
    monkeypatch.setenv("PATH", f"{found.parent}:{os.environ['PATH']}")
    exp = Experiment("torque", tmp_path, launcher="pbs")
    db = exp.create_database(0, db_nodes=3, interface="lo", batch=True, run_command="mpirun", time="00:10:00")
    exp.start(db)
    assert db.is_active() and exp.get_status(db) == ["Running"]
    assert slurm.run("squeue", "--noheader", "--format=%D").split() == ["3"]
    assert Orchestrator.attach(db.path).launcher == "pbs"
    exp.stop()
    eventually(lambda: slurm.jobs() == [] and not any(alive(pid) for pid in db.pids))


# LSF, as far as a database sees it: `bsub` runs a script at once, `bjobs` tells of it in the format of its page
# (IBM Spectrum LSF command reference, "bjobs -o"), `bkill` ends it, and `jsrun` numbers the processes it starts.
LSF = r"""
import os, signal, subprocess, sys
from pathlib import Path

folder, (name, *words) = Path(__file__).parent, [Path(sys.argv[0]).name, *sys.argv[1:]]
if name == "bsub":
    # Of no job of another test, which may still be ended.
    number = os.getpid()
    job = folder / f"{number}.job"
    job.write_text(sys.stdin.read())
    shell = f"trap : TERM; bash '{job}'; echo $? > {job}.draft; mv {job}.draft {job}.code"
    nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    started = subprocess.Popen(["sh", "-c", shell], start_new_session=True, **nowhere)
    job.with_suffix(".pid").write_text(str(started.pid))
    print(f"Job <{number}> is submitted to default queue <normal>.")
elif name == "bjobs":
    for number in words[4:]:
        code, killed = folder / f"{number}.job.code", (folder / f"{number}.killed").exists()
        if not code.exists():
            print(f"{number}|0|RUN|-|-|a:b:c")
        elif killed:
            print(f"{number}|0|EXIT|143|TERM_OWNER: job killed by owner|a:b:c")
        else:
            status = code.read_text().strip()
            print(f"{number}|0|{'DONE' if status == '0' else 'EXIT'}|{status if status != '0' else '-'}|-|a:b:c")
elif name == "bkill":
    for number in words:
        (folder / f"{number}.killed").touch()
        os.killpg(int((folder / f"{number}.pid").read_text()), signal.SIGTERM)
else:
    options = {}
    while words[0].startswith("-"):
        option, _, value = words.pop(0).partition("=")
        options[option] = value or words.pop(0)
    os.chdir(options["--chdir"])
    out, err = (open(options[f"--stdio_{kind}"], "ab") for kind in ("stdout", "stderr"))
    ranks = [
        subprocess.Popen(words, stdout=out, stderr=err, env={**os.environ, "JSM_NAMESPACE_RANK": str(rank)})
        for rank in range(int(options["--nrs"]))
    ]
    sys.exit(max(rank.wait() for rank in ranks))
"""


@pytest.fixture
def lsf(tmp_path, monkeypatch):
    """An experiment on an LSF that is played."""
    folder = tmp_path / "lsf"
    folder.mkdir()
    for name in ("bsub", "bjobs", "bkill", "jsrun"):
        (folder / name).write_text(f"#!{sys.executable}\n{LSF}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    made = Experiment("lsf", tmp_path, launcher="lsf")
    yield made
    made.stop()


@pytest.mark.parametrize("batch", [False, True])
def test_jsrun_starts_all_servers_in_an_allocation_and_in_a_job(lsf, batch, alive, eventually):
    db = lsf.create_database(0, db_nodes=3, interface="lo", batch=batch)
    lsf.start(db)
    assert db.is_active() and len(db.jobs) == 1 and lsf.get_status(db) == ["Running"]
    with db.connect() as client:
        client.put_tensor("x", np.arange(3))
    lsf.stop()
    assert lsf.get_status(db) == ["Cancelled"]
    eventually(lambda: not any(alive(pid) for pid in db.pids))


def test_a_database_whose_job_somebody_ends_is_reported(lsf, eventually, caplog):
    db = lsf.create_database(0, interface="lo", batch=True)
    lsf.start(db)
    subprocess.run(["bkill", db.jobs[0].title.removeprefix("LSF job ")], check=True)
    eventually(lambda: lsf.get_status(db) == ["Cancelled"])
    assert "was cancelled, and not by this script" in caplog.text


@pytest.mark.parametrize("db_nodes", [1, 3])
def test_a_server_that_dies_is_started_again_where_it_was_with_its_data(
    exp, allocation, producer, slurm, db_nodes, eventually, alive, caplog
):
    caplog.set_level("WARNING")
    options = {"persistence": "aof", "restarts": 9, "alloc": allocation, "password": True}
    db = exp.create_database(0, db_nodes=db_nodes, interface="lo", **options)
    exp.start(db)
    addresses, last = db.nodes and [node.address for node in db.nodes], db.pids[-1]
    with db.connect() as client:
        for number in range(30):
            client.put_tensor(f"x_{number}", np.full(3, number))
        for _ in range(2):
            # While the disk is busy, Redis keeps writes for a second or two.
            eventually(lambda: not any(node.info("persistence")["aof_buffer_length"] for node in db.nodes))
            victim = db.pids[-1]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: not db.is_restarting and victim not in db.pids and db.is_active())
            assert [node.address for node in db.nodes] == addresses
            assert [client.get_tensor(f"x_{number}").sum() for number in range(30)] == [3 * n for n in range(30)]
    assert last not in db.pids and db.status == "Running"
    assert caplog.text.count("serves again") == 2
    name = "orchestrator" if db_nodes == 1 else "orchestrator_2"
    steps = slurm.run("squeue", "--steps", "--noheader", f"--jobs={allocation}", "--format=%j %N").splitlines()
    assert steps.count(f"{name} n{db_nodes}") == 1
    # Programs that start later find it as those before did.
    exp.start(producer)
    assert exp.get_status(producer) == ["Completed"], words_of(producer, "err")
    pids = db.pids
    exp.stop(db)
    assert not any(alive(pid) for pid in pids) and exp.get_status(db) == ["Cancelled"]


def test_a_server_that_dies_too_often_under_slurm_is_given_up(exp, allocation, eventually, caplog):
    db = exp.create_database(0, interface="lo", persistence="aof", restarts=1, alloc=allocation)
    exp.start(db)

    def is_given_up():
        if db.status == "Running":
            with contextlib.suppress(ProcessLookupError):
                os.kill(db.pids[0], signal.SIGKILL)
        return db.status == "Failed" and not db.is_restarting

    eventually(is_given_up)
    assert not db.is_running and "is gone" in caplog.text
