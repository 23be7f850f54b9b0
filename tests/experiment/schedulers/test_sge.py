"""Grid Engine: `qsub` scripts, word for word."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, UnsupportedError
from smartml.experiment.schedulers.mpi import MpirunSettings
from smartml.experiment.schedulers.sge import SgeQsubBatchSettings

SCRIPT = """\
#!/bin/bash -l

#$ -o /st/bt.out
#$ -e /st/bt.err
#$ -N bt-ID
#$ -V
#$ -pe mpi 8
#$ -ac v=3
#$ -l h_rt=01:00:00
#$ -l threads=0
#$ -l mem=2G
#$ -v OMP_NUM_THREADS=2
#$ -A acc
#$ -P proj
module load x

cd /cwd && mpirun --wdir /cwd {echo} hi > /st/m.out 2> /st/m.err &
pids+=($!)

"""


def test_the_script_of_a_job(place, job, bare_machine):
    settings = SgeQsubBatchSettings(time="01:00:00", ncpus=8, pe_type="mpi")
    settings.update_context_variables("ac", "v", 3)
    settings.set_hyperthreading(False)
    settings.set_memory_per_pe("2G")
    settings.set_threads_per_pe(2)
    settings.set_account("acc")
    settings.set_project("proj")
    settings.add_preamble("module load x")
    script = settings.script(job, [(MpirunSettings("echo", "hi", fail_if_missing_exec=False), place)])
    assert script.split("code=0")[0] == SCRIPT.format(echo=bare_machine / "echo")
    assert settings.submit_command("bt.sh") == ["qsub", "bt.sh"]


def test_options_as_they_stand_in_the_script():
    settings = SgeQsubBatchSettings(resources={"h": "a b"}, shebang="#!/bin/bash")
    settings.set_ncpus(2)
    settings.set_pe_type("smp")
    settings.set_ngpus(1)
    settings.update_context_variables("dc", "v")
    assert settings.format_batch_args() == ["-pe smp 2", "-dc v", '-l h="a b"', "-l gpu=1"]
    assert settings.resources == {"h": "a b", "gpu": 1}


@pytest.mark.parametrize(("setter", "value"), [("set_nodes", 2), ("set_queue", "q"), ("set_hostlist", ["h1"])])
def test_what_grid_engine_chooses_itself_cannot_be_set(setter, value):
    with pytest.raises(UnsupportedError, match="Grid Engine"):
        getattr(SgeQsubBatchSettings(), setter)(value)


def test_contradictions_are_refused():
    for half in ({"ncpus": 8}, {"pe_type": "mpi"}):
        with pytest.raises(ArgumentValueError, match="belong together"):
            SgeQsubBatchSettings(**half).format_batch_args()
    with pytest.raises(ArgumentValueError, match="'m' needs a value"):
        SgeQsubBatchSettings(batch_args={"m": None}).format_batch_args()
    settings = SgeQsubBatchSettings()
    with pytest.raises(ArgumentValueError, match="there are: ac, sc, dc"):
        settings.update_context_variables("xx", "v", 1)
    with pytest.raises(ArgumentValueError, match="takes no value"):
        settings.update_context_variables("dc", "v", 1)
    with pytest.raises(ArgumentValueError, match="needs a value"):
        settings.update_context_variables("sc", "v")
    with pytest.raises(ArgumentValueError, match="begins with '#!'"):
        settings.set_shebang("bash")
    with pytest.raises(ArgumentTypeError, match="str or an int"):
        settings.set_resource("mem", None)
