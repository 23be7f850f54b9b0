"""Programs that a run command starts: steps of Slurm in an allocation, and MPI."""

import sys
from pathlib import Path

import pytest

from smartml.errors import LaunchError
from smartml.experiment import Experiment, Orchestrator

SHOW = """
import os, sys
print(os.environ["SLURM_PROCID"], os.environ["SLURMD_NODENAME"], os.environ["SLURM_STEP_ID"])
print(os.environ.get("SMARTML_ENTITY"), os.environ.get("SSKEYOUT"), os.environ.get("OWN"), file=sys.stderr)
"""

REACH = """
import os, redis
host, port = os.environ["SSDB"].split(":")
redis.Redis(host, int(port)).rpush("ranks", os.environ["SLURM_PROCID"])
"""


@pytest.fixture
def allocation(slurm):
    """Two nodes of Slurm for as long as the test takes; what `srun --jobid` is told."""
    done = slurm.ask("salloc", "--no-shell", "--nodes=2", "--ntasks-per-node=4", "--job-name=test")
    assert done.returncode == 0, done.stderr
    return slurm.jobs()[0]


@pytest.fixture
def steps(tmp_path, slurm):
    """An experiment whose programs are steps; all that it started is stopped in the end."""
    made = Experiment("steps", tmp_path, launcher="slurm")
    yield made
    made.stop()


@pytest.fixture
def step(steps, allocation):
    """Describe a step of a piece of Python in the allocation."""

    def describe(code, name="step", tasks=1, nodes=1, **options):
        settings = steps.create_run_settings("python", ["-c", code], run_command="srun", alloc=allocation)
        settings.set_tasks(tasks)
        settings.set_nodes(nodes)
        # Otherwise a step has its nodes for itself, and the next one waits for it.
        settings.set("exact")
        settings.update_env({"OWN": "a,b c"})
        return steps.create_model(name, settings, **options)

    return describe


def text_of(model, kind):
    return Path(model.path, f"{model.name}.{kind}").read_text()


def test_a_step_runs_in_the_allocation_with_its_output_in_its_folder(steps, step):
    model = step(SHOW, tasks=2, nodes=2, enable_key_prefixing=True)
    steps.start(model)
    assert steps.get_status(model) == ["Completed"]
    assert sorted(line.split()[:2] for line in text_of(model, "out").splitlines()) == [["0", "n1"], ["1", "n2"]]
    assert text_of(model, "err") == "step step a,b c\n" * 2


def test_a_failing_step_is_reported_with_its_last_words_and_its_exit_code(steps, step, caplog):
    model = step("print('so far so good'); raise RuntimeError('no more steam')")
    steps.start(model)
    assert steps.get_status(model) == ["Failed"]
    assert "step failed: exit code 1" in caplog.text
    assert "RuntimeError: no more steam" in caplog.text
    # What srun says itself gets not between the lines of the program.
    assert "srun: error" in text_of(model, "launch.log")
    assert "srun" not in text_of(model, "err")


def test_steps_find_the_database(steps, step):
    with Orchestrator(port=0) as db:
        model = step(REACH, tasks=3)
        steps.start(db, model)
        assert steps.get_status(model) == ["Completed"]
        with db.nodes[0].connection() as client:
            assert sorted(client.lrange("ranks", 0, -1)) == ["0", "1", "2"]


def test_steps_run_side_by_side_and_are_stopped_with_all_their_processes(
    steps, step, slurm, allocation, read_eventually, eventually, alive
):
    code = "import os, time; print(os.getpid()); time.sleep(100)"
    models = [step(code, f"step{number}") for number in range(3)]
    steps.start(*models, block=False)
    pids = [int(read_eventually(f"{model.path}/{model.name}.out")[0]) for model in models]
    steps.stop(models[0])
    assert [alive(pid) for pid in pids] == [False, True, True]
    steps.stop()
    assert steps.get_status(*models) == ["Cancelled"] * 3
    eventually(lambda: not any(alive(pid) for pid in pids))
    # The allocation is whose it was.
    assert slurm.jobs() == [allocation]


def test_the_output_of_earlier_steps_is_kept_and_steps_are_started_again(steps, step):
    code = "import os, sys; found = os.path.exists('x'); open('x', 'w'); print(found); sys.exit(not found)"
    model = step(code, restarts=1, restart_delay_s=0)
    steps.start(model)
    assert steps.get_status(model) == ["Completed"]
    assert (text_of(model, "1.out"), text_of(model, "out")) == ("False\n", "True\n")


def test_a_step_that_waits_and_has_a_time_limit(steps, step):
    first, then = step("pass", "first"), step("import time; time.sleep(100)", "then", time_limit_s=0.5)
    then.start_after(first)
    steps.start(first, then)
    assert steps.get_status(first, then) == ["Completed", "Failed"]


def test_several_programs_of_one_step(steps, step, allocation):
    settings = steps.create_run_settings("echo", "one", run_command="srun", alloc=allocation)
    settings.make_mpmd(steps.create_run_settings("echo", "two", run_command="srun"))
    model = steps.create_model("both", settings)
    steps.start(model)
    assert sorted(text_of(model, "out").split()) == ["one", "two"]


def test_steps_end_with_the_script(script, slurm, allocation, eventually, alive, tmp_path, monkeypatch):
    process = script(
        "import os, time\n"
        "from smartml.experiment import Experiment\n"
        "exp = Experiment('exp', launcher='slurm')\n"
        "code = 'import os, time; print(os.getpid()); time.sleep(100)'\n"
        f"settings = exp.create_run_settings('python', ['-c', code], run_command='srun', alloc={allocation!r})\n"
        "exp.start(exp.create_model('step', settings), block=False)\n"
        "while not os.path.exists('exp/step/step.out') or not open('exp/step/step.out').read(): time.sleep(0.01)\n"
        "print(open('exp/step/step.out').read(), flush=True)\n"
        "time.sleep(100)"
    )
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.kill()
    eventually(lambda: not alive(pid))


def test_an_allocation_that_is_not_there_is_told_in_srun_s_words(steps, slurm, caplog):
    settings = steps.create_run_settings("python", ["-c", "pass"], run_command="srun", alloc=4711)
    model = steps.create_model("step", settings)
    steps.start(model)
    assert steps.get_status(model) == ["Failed"]
    assert "srun: error" in caplog.text and "job id" in caplog.text.lower()


# In files, since hydra may put the words of several ranks on one line.
RANK = """
import os
from mpi4py import MPI
world = MPI.COMM_WORLD
with open(f"rank{world.rank}", "w") as file:
    print(world.size, os.environ["SMARTML_ENTITY"], file=file)
"""


@pytest.fixture
def mpirun():
    """The MPI of this environment."""
    pytest.importorskip("mpi4py", reason="no mpi4py: pip install mpi4py mpich")
    found = Path(sys.executable).with_name("mpirun")
    if not found.exists():
        pytest.skip("no mpirun beside Python: pip install mpich")
    return str(found)


def test_ranks_of_mpirun_are_one_program(exp, mpirun):
    settings = exp.create_run_settings("python", ["-c", RANK], run_command=mpirun, run_args={"-n": 3})
    model = exp.create_model("ranks", settings)
    exp.start(model)
    assert [Path(model.path, f"rank{rank}").read_text() for rank in range(3)] == ["3 ranks\n"] * 3


def test_stopping_mpirun_ends_its_ranks(exp, mpirun, eventually, alive):
    code = "import os, time; open(f'pid{os.getpid()}', 'w').close(); time.sleep(100)"
    settings = exp.create_run_settings("python", ["-c", code], run_command=mpirun, run_args={"-n": 3})
    model = exp.create_model("ranks", settings)
    exp.start(model, block=False)
    files = eventually(lambda: len(found := list(Path(model.path).glob("pid*"))) == 3 and found)
    exp.stop(model)
    assert not any(alive(int(file.name.removeprefix("pid"))) for file in files)


def test_a_rank_that_fails_is_the_program_s_failure(exp, mpirun, caplog):
    code = "from mpi4py import MPI; import sys; MPI.COMM_WORLD.rank == 1 and sys.exit('rank 1 lost its way')"
    settings = exp.create_run_settings("python", ["-c", code], run_command=mpirun, run_args={"-n": 2})
    model = exp.create_model("ranks", settings)
    exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert "rank 1 lost its way" in caplog.text


def test_a_program_that_a_broken_command_cannot_start_is_an_error(steps, tmp_path):
    broken = tmp_path / "srun"
    broken.write_text("neither script nor binary")
    broken.chmod(0o755)
    settings = steps.create_run_settings("true", run_command=str(broken))
    with pytest.raises(LaunchError, match="'step' cannot be started"):
        steps.start(steps.create_model("step", settings))


BESIDE = """
import os, numpy as np, smartml
rank = os.environ["SLURM_PROCID"]
with smartml.Client() as client:
    client.put_tensor(f"x_{rank}", np.arange(3))
    pid = client.database.command("INFO", "server")["process_id"]
    print(os.environ["SLURMD_NODENAME"], pid, client.get_tensor(f"x_{rank}").sum())
"""


def test_each_node_of_a_step_has_a_database_beside_its_ranks(steps, step, eventually, alive):
    model = step(BESIDE, tasks=4, nodes=2)
    model.colocate_db_tcp(0)
    steps.start(model)
    assert steps.get_status(model) == ["Completed"], text_of(model, "err")
    lines = [line.split() for line in text_of(model, "out").splitlines()]
    assert len(lines) == 4 and {line[2] for line in lines} == {"3"}
    # Two nodes with one server each.
    assert len({(node, pid) for node, pid, _ in lines}) == 2 == len({node for node, _, _ in lines})
    for _, pid, _ in lines:
        eventually(lambda pid=pid: not alive(int(pid)))


def test_a_step_logs_in_to_a_database_with_a_password(steps, step, tmp_path):
    with Orchestrator(tmp_path / "db", port=0, password=True) as db:
        model = step("import smartml; smartml.Client().put_tensor('x', __import__('numpy').arange(3))")
        steps.start(db, model)
        assert steps.get_status(model) == ["Completed"], text_of(model, "err")
        with db.connect() as client:
            assert client.tensor_exists("x")
