"""Grid Engine: `qsub` scripts, word for word, and what its commands answer."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, SchedulerError, UnsupportedError
from smartml.experiment.schedulers.batch_system import Answer, JobState
from smartml.experiment.schedulers.mpi import MpirunSettings
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.schedulers.sge import GRID_ENGINE, SgeQsubBatchSettings
from smartml.experiment.states import Status

SCRIPT = """\
#!/bin/bash -l

#$ -o /st/bt.out
#$ -e /st/bt.err
#$ -N bt-ID
#$ -V
#$ -S /bin/bash
#$ -pe mpi 8
#$ -ac v=3
#$ -l h_rt=01:00:00
#$ -l threads=0
#$ -l mem=2G
#$ -v OMP_NUM_THREADS=2
#$ -A acc
#$ -P proj
module load x

(begin m; cd /cwd && mpirun --wdir /cwd {echo} hi > /st/m.out 2> /st/m.err; end m "$?") &
pids+=($!)

"""


def test_the_script_of_a_job(place, job, bare_machine, own_lines):
    settings = SgeQsubBatchSettings(time="01:00:00", ncpus=8, pe_type="mpi")
    settings.update_context_variables("ac", "v", 3)
    settings.set_hyperthreading(False)
    settings.set_memory_per_pe("2G")
    settings.set_threads_per_pe(2)
    settings.set_account("acc")
    settings.set_project("proj")
    settings.add_preamble("module load x")
    script = settings.script(job, [(MpirunSettings("echo", "hi", fail_if_missing_exec=False), place)])
    assert own_lines(script) == SCRIPT.format(echo=bare_machine / "echo")
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
    with pytest.raises(ArgumentValueError, match="'m' needs one"):
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


def test_a_job_array_has_a_range_and_a_limit(place, job):
    settings = SgeQsubBatchSettings()
    settings.set_array(at_once=3)
    script = settings.script(job, [(RunSettings("true"), place)] * 2)
    assert "#$ -S /bin/bash\n#$ -t 1-2\n#$ -tc 3\n" in script
    assert "#$ -o /st/bt_$TASK_ID.job.out\n" in script
    assert 'case "$SGE_TASK_ID" in\n1)\n' in script


# The form of `qstat -xml -g d` of Grid Engine 8.1.
QUEUE = """\
<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>7</JB_job_number>
      <JAT_prio>0.55500</JAT_prio>
      <JB_name>a &lt; b</JB_name>
      <state>r</state>
      <queue_name>all.q@n1</queue_name>
      <slots>1</slots>
    </job_list>
    <job_list state="running">
      <JB_job_number>8</JB_job_number>
      <state>Rr</state>
      <queue_name>all.q@n2</queue_name>
      <tasks>2</tasks>
    </job_list>
    <job_list state="running">
      <JB_job_number>9</JB_job_number>
      <state>dr</state>
      <queue_name>all.q@n2</queue_name>
    </job_list>
    <job_list state="running"><JB_job_number>10</JB_job_number><state>s</state><queue_name>q@n2</queue_name></job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>11</JB_job_number>
      <state>qw</state>
      <queue_name></queue_name>
      <slots>1</slots>
    </job_list>
    <job_list state="pending"><JB_job_number>12</JB_job_number><state>Eqw</state><queue_name/></job_list>
  </job_info>
</job_info>
"""


def test_the_states_of_all_jobs_in_one_query():
    assert GRID_ENGINE.query_command(["7"], arrays=False)[:4] == ["qstat", "-xml", "-g", "d"]
    assert GRID_ENGINE.parse_query(Answer(QUEUE)) == {
        "7": JobState(Status.STATUS_RUNNING, None, "", "n1"),
        "8.2": JobState(Status.STATUS_RUNNING, None, "", "n2", restarts=1),
        "9": JobState(Status.STATUS_RUNNING, None, "it is being deleted", "n2", is_ending=True),
        "10": JobState(Status.STATUS_PAUSED, None, "s", "n2"),
        "11": JobState(Status.STATUS_QUEUED, None, "qw"),
        "12": JobState(Status.STATUS_FAILED, None, "Eqw: it could not be started, `qstat -j` says why"),
    }
    silence = Answer("", 'error: unable to contact qmaster using port 6444 on host "head"\n', 1)
    with pytest.raises(SchedulerError, match="unable to contact qmaster"):
        GRID_ENGINE.parse_query(silence)
    assert GRID_ENGINE.is_unreached(silence)


# The form of `qacct -j` of Grid Engine 8.1; there are more lines between these.
PAST = """\
==============================================================
qname        all.q
hostname     n1
jobname      sim
jobnumber    7
taskid       undefined
failed       0
exit_status  3
==============================================================
hostname     n2
jobnumber    8
taskid       2
failed       37  : qmaster enforced h_rt, h_cpu, or h_vmem limit
exit_status  137                  (Killed)
==============================================================
hostname     n2
jobnumber    9
taskid       undefined
failed       0
exit_status  0
"""


def test_the_accounting_says_how_jobs_ended():
    assert GRID_ENGINE.parse_past(Answer(PAST)) == {
        "7": JobState(Status.STATUS_FAILED, 3, "", "n1"),
        "8.2": JobState(Status.STATUS_FAILED, -9, "qmaster enforced h_rt, h_cpu, or h_vmem limit", "n2"),
        "9": JobState(Status.STATUS_COMPLETED, 0, "", "n2"),
    }
    assert GRID_ENGINE.parse_past(Answer("", "error: job id 7 not found\n", 1)) == {}


def test_the_id_of_a_submission_or_all_that_was_said():
    assert GRID_ENGINE.parse_submission(Answer('Your job 17 ("sim") has been submitted\n')) == "17"
    assert GRID_ENGINE.parse_submission(Answer('Your job-array 18.1-3:1 ("sim") has been submitted\n')) == "18"
    with pytest.raises(SchedulerError, match="Unable to run job: unknown queue"):
        GRID_ENGINE.parse_submission(Answer("", "Unable to run job: unknown queue\nExiting.\n", 1))


def test_tasks_are_ended_each_by_its_number():
    assert GRID_ENGINE.cancel_commands(["7", "8.2", "8.3", "9"]) == [
        ["qdel", "7", "9"],
        ["qdel", "8", "-t", "2"],
        ["qdel", "8", "-t", "3"],
    ]
    assert GRID_ENGINE.kill_commands(["7"]) == [["qdel", "-f", "7"]]


def test_the_hosts_of_an_allocation():
    source = GRID_ENGINE.allocation_hosts({"PE_HOSTFILE": "/hosts"})
    assert source.file == "/hosts"
    text = "n1 4 all.q@n1 UNDEFINED\nn2 2 all.q@n2 UNDEFINED\n"
    assert GRID_ENGINE.allocation_tasks({}, text) == {"n1": 4, "n2": 2}
    assert GRID_ENGINE.allocation_hosts({}) is None
