"""PBS: `qsub` scripts, word for word."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.mpi import MpirunSettings
from smartml.experiment.schedulers.pbs import QsubBatchSettings

SCRIPT = """\
#!/bin/bash

#PBS -o /st/bt.out
#PBS -e /st/bt.err
#PBS -N bt-ID
#PBS -V
#PBS -l nodes=2:ncpus=8:host=h1+host=h2
#PBS -l place=scatter
#PBS -l walltime=01:00:00
#PBS -q q
#PBS -A acc
module load x

cd /cwd && mpirun --wdir /cwd --n 4 {echo} hi > /st/m.out 2> /st/m.err &
pids+=($!)

"""


def test_the_script_of_a_job(place, job, bare_machine):
    settings = QsubBatchSettings(2, 8, "01:00:00", "q", "acc", resources={"place": "scatter"})
    settings.set_hostlist(["h1", "h2"])
    settings.add_preamble("module load x")
    member = MpirunSettings("echo", "hi", {"n": 4}, fail_if_missing_exec=False)
    script = settings.script(job, [(member, place)])
    assert script.split("code=0")[0] == SCRIPT.format(echo=bare_machine / "echo")
    assert settings.submit_command("bt.sh") == ["qsub", "bt.sh"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"nodes": 2}, ["-l nodes=2"]),
        ({"nodes": 2, "ncpus": 4}, ["-l nodes=2:ncpus=4"]),
        ({"ncpus": 4, "resources": {"select": 3, "gpu": "a100"}}, ["-l select=3:ncpus=4", "-l gpu=a100"]),
        ({"nodes": 1, "batch_args": {"-m": "abe", "p": 0}}, ["-l nodes=1", "-m abe", "-p 0"]),
    ],
)
def test_options_as_they_stand_in_the_script(options, expected):
    assert QsubBatchSettings(**options).format_batch_args() == expected


def test_resources_can_be_set_later():
    settings = QsubBatchSettings(resources={"select": 1})
    settings.set_resource("mem", "4gb")
    settings.set_ncpus("2")
    settings.set_walltime("10:00")
    assert settings.resources == {"select": 1, "mem": "4gb", "walltime": "10:00"}
    settings.resources = {"nodes": 3}
    assert settings.format_batch_args() == ["-l nodes=3:ncpus=2"]


def test_contradictions_are_refused():
    with pytest.raises(ArgumentValueError, match="give one"):
        QsubBatchSettings(nodes=2, resources={"nodes": 2})
    with pytest.raises(ArgumentValueError, match="got both"):
        QsubBatchSettings(nodes=2, resources={"select": 2}).format_batch_args()
    with pytest.raises(ArgumentValueError, match="got neither"):
        QsubBatchSettings().format_batch_args()
    with pytest.raises(ArgumentValueError, match="'V' needs one"):
        QsubBatchSettings(1, batch_args={"V": None}).format_batch_args()
    with pytest.raises(ArgumentTypeError, match="must be an int, got '2:ncpus=3'"):
        QsubBatchSettings(resources={"select": "2:ncpus=3"}).format_batch_args()
    with pytest.raises(ArgumentTypeError, match="str or an int"):
        QsubBatchSettings(resources={"mem": 1.5})
    with pytest.raises(ArgumentTypeError, match="name of a resource"):
        QsubBatchSettings(resources={1: 2})
