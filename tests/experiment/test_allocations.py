"""Allocations of a real Slurm, and what a job is told of its hosts."""

import sys

import pytest

from smartml.errors import AllocationError, ArgumentValueError, UnsupportedError
from smartml.experiment import Experiment, allocations

SHOW = "from smartml.experiment.allocations import *; "
SHOW += "print(get_hosts(), get_queue(), get_tasks(), sorted(get_tasks_per_node().items()))"


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    """No job around the tests."""
    for name in ("SLURM_JOB_NODELIST", "PBS_NODEFILE", "LSB_DJOB_HOSTFILE", "LSB_HOSTS", "PE_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)


def test_programs_run_as_steps_in_an_allocation_that_is_given_back(slurm, tmp_path):
    allocation = allocations.get_allocation(nodes=2, time="00:10:00", options={"ntasks-per-node": 2})
    exp = Experiment("exp", tmp_path, launcher="slurm")
    settings = exp.create_run_settings("printenv", "SLURMD_NODENAME", run_command="srun", alloc=allocation)
    settings.set_tasks(2)
    settings.set_nodes(2)
    model = exp.create_model("model", settings)
    exp.start(model)
    assert sorted((tmp_path / "model" / "model.out").read_text().split()) == ["n1", "n2"]
    allocations.release_allocation(allocation)
    with pytest.raises(AllocationError, match=f"no allocation {allocation}, or it has ended"):
        allocations.release_allocation(allocation)


def test_an_allocation_that_cannot_be_had_is_an_error_with_slurm_s_words(slurm):
    with pytest.raises(AllocationError, match=r"no allocation of 1 nodes: .*partition"):
        allocations.get_allocation(options={"partition": "none"})
    with pytest.raises(ArgumentValueError, match="options N of salloc are set by get_allocation"):
        allocations.get_allocation(options={"-N": 3})
    with pytest.raises(AllocationError, match="no allocation 99999"):
        allocations.release_allocation(99999)


def test_what_slurm_has_can_be_asked_before(slurm):
    assert allocations.get_default_partition() == "debug"
    assert allocations.validate(nodes=4, ppn=4)
    assert not allocations.validate(nodes=5)
    assert not allocations.validate(ppn=5)
    with pytest.raises(AllocationError, match="no partition 'none'; it has: debug"):
        allocations.validate(partition="none")


def test_a_job_of_slurm_knows_its_hosts(slurm):
    text = slurm.run("srun", "--nodes=2", "--ntasks-per-node=2", "--overcommit", sys.executable, "-c", SHOW)
    assert set(text.splitlines()) == {"['n1', 'n2'] debug 4 [('n1', 2), ('n2', 2)]"}


@pytest.mark.parametrize(
    ("launcher", "variables", "text"),
    [
        ("pbs", {"PBS_NODEFILE": "{file}", "PBS_QUEUE": "q"}, "n1\nn1\nn2\n"),
        ("lsf", {"LSB_DJOB_HOSTFILE": "{file}", "LSB_QUEUE": "q"}, "n1\nn1\nn2\n"),
        ("lsf", {"LSB_HOSTS": "n1 n1 n2", "LSB_QUEUE": "q"}, ""),
        ("sge", {"PE_HOSTFILE": "{file}", "QUEUE": "q"}, "n1 2 q@n1 UNDEFINED\nn2 1 q@n2 UNDEFINED\n"),
    ],
)
def test_a_job_of_another_batch_system_knows_its_hosts(launcher, variables, text, tmp_path, monkeypatch):
    (tmp_path / "hosts").write_text(text)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(file=tmp_path / "hosts"))
    for asked in (launcher, None):
        assert allocations.hosts_of_allocation(asked) == ["n1", "n2"]
        assert allocations.get_tasks_per_node(asked) == {"n1": 2, "n2": 1}
        assert (allocations.get_tasks(asked), allocations.get_queue(asked)) == (3, "q")


def test_outside_of_a_job_the_question_has_no_answer(tmp_path, monkeypatch):
    with pytest.raises(AllocationError, match="runs in no job of a batch system"):
        allocations.get_hosts()
    with pytest.raises(AllocationError, match="runs in no job of LSF"):
        allocations.get_hosts("lsf")
    with pytest.raises(UnsupportedError, match="'local' has no batch system"):
        allocations.get_hosts("local")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "gone"))
    with pytest.raises(AllocationError, match="the file of hosts cannot be read"):
        allocations.get_hosts()
    with pytest.raises(AllocationError, match="PBS_QUEUE is not set"):
        allocations.get_queue("pbs")
