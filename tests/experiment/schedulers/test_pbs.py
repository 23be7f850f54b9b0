"""PBS: `qsub` scripts, word for word, and what its commands answer."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, SchedulerError
from smartml.experiment.schedulers.batch_system import Answer, JobState
from smartml.experiment.schedulers.mpi import MpirunSettings
from smartml.experiment.schedulers.pbs import Pbs, QsubBatchSettings
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.states import Status

SCRIPT = """\
#!/bin/bash

#PBS -o /st/bt.out
#PBS -e /st/bt.err
#PBS -N bt-ID
#PBS -V
#PBS -l nodes=h1:ncpus=8+h2:ncpus=8
#PBS -l place=scatter
#PBS -l walltime=01:00:00
#PBS -q q
#PBS -A acc
module load x

(begin m; cd /cwd && mpirun --wdir /cwd --n 4 {echo} hi > /st/m.out 2> /st/m.err; end m "$?") &
pids+=($!)

"""


def test_the_script_of_a_job(place, job, bare_machine, own_lines):
    settings = QsubBatchSettings(2, 8, "01:00:00", "q", "acc", resources={"place": "scatter"})
    settings.set_hostlist(["h1", "h2"])
    settings.add_preamble("module load x")
    member = MpirunSettings("echo", "hi", {"n": 4}, fail_if_missing_exec=False)
    script = settings.script(job, [(member, place)])
    assert own_lines(script) == SCRIPT.format(echo=bare_machine / "echo")
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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "-l nodes=a+b"),
        ({"nodes": 2, "ncpus": 4}, "-l nodes=a:ncpus=4+b:ncpus=4"),
        ({"resources": {"select": 2}, "ncpus": 4}, "-l select=1:ncpus=4:host=a+1:ncpus=4:host=b"),
    ],
)
def test_each_host_is_a_part_of_the_request(options, expected):
    settings = QsubBatchSettings(**options)
    settings.set_hostlist(["a", "b"])
    assert settings.format_batch_args() == [expected]


def test_as_many_hosts_as_nodes():
    settings = QsubBatchSettings(nodes=3)
    settings.set_hostlist("a,b")
    with pytest.raises(ArgumentValueError, match=r"3 nodes and 2 hosts \(a, b\)"):
        settings.format_batch_args()


@pytest.mark.parametrize(("option", "expected"), [("J", "#PBS -J 0-1%1\n"), ("t", "#PBS -t 0-1%1\n")])
def test_a_job_array_is_asked_for_in_the_words_of_the_site(option, expected, place, job):
    settings = QsubBatchSettings(nodes=1)
    settings.set_array(at_once=1)
    settings.array_option = option
    script = settings.script(job, [(RunSettings("true"), place)] * 2)
    assert expected in script
    assert "#PBS -o /st/bt_^array_index^.job.out\n" in script
    assert 'case "${PBS_ARRAY_INDEX:-$PBS_ARRAYID}" in\n0)\n' in script


# As OpenPBS 20 prints them: names on one line, long values going on behind a tab.
OPENPBS = """\
Job Id: 40.pbs
    Job_Name = sim
    Job_Owner = user@login
    job_state = F
    queue = workq
    exec_host = n1/0*2+n2/0*2
    Variable_List = PBS_O_HOME=/home/user,PBS_O_PATH=/usr/local/sbin:/usr/loc
{tab}al/bin,job_state = R,QUOTE="
    comment = Job run at Sat Nov 21 at 10:00 on (n1:ncpus=2)+(n2:ncpus=2) and
{tab} finished
    run_count = 1
    Exit_status = 0
    substate = 92

Job Id: 41.pbs
    job_state = F
    exec_host = n1/0
    Exit_status = 3

Job Id: 42.pbs
    job_state = F
    exec_host = n1/0
    Exit_status = 271

Job Id: 43.pbs
    job_state = F
    exec_host = n1/0
    Exit_status = -29

Job Id: 44.pbs
    job_state = F
    comment = Not Running: deleted
    substate = 91

Job Id: 45[].pbs
    job_state = B
    array = True

Job Id: 45[0].pbs
    job_state = X
    Exit_status = 137

Job Id: 45[1].pbs
    job_state = R
    exec_host = n3/1
    run_count = 2

Job Id: 46.pbs
    job_state = Q
    comment = Not Running: Insufficient amount of resource: ncpus

Job Id: 47.pbs
    job_state = S

Job Id: 48.pbs
    job_state = E
    run_count = 1

Job Id: 49.pbs
    job_state = F
    Exit_status = -1
"""


def test_the_states_of_all_jobs_in_one_query():
    assert Pbs().query_command(["40.pbs", "45[].pbs"], arrays=True) == ["qstat", "-f", "-x", "-t", "40.pbs", "45[].pbs"]
    found = Pbs().parse_query(Answer(OPENPBS.replace("{tab}", "\t")))
    assert found == {
        "40.pbs": JobState(
            Status.STATUS_COMPLETED,
            0,
            "",
            "n1,n2",
        ),
        "41.pbs": JobState(Status.STATUS_FAILED, 3, "", "n1"),
        "42.pbs": JobState(Status.STATUS_FAILED, -15, "", "n1"),
        "43.pbs": JobState(Status.STATUS_FAILED, None, "over its walltime", "n1"),
        "44.pbs": JobState(Status.STATUS_CANCELLED, None, "Not Running: deleted"),
        "45[].pbs": JobState(Status.STATUS_RUNNING),
        "45[0].pbs": JobState(Status.STATUS_FAILED, -9),
        "45[1].pbs": JobState(Status.STATUS_RUNNING, None, "", "n3", restarts=1),
        "46.pbs": JobState(Status.STATUS_QUEUED, None, "Not Running: Insufficient amount of resource: ncpus"),
        "47.pbs": JobState(Status.STATUS_PAUSED),
        "48.pbs": JobState(Status.STATUS_RUNNING, is_ending=True),
        "49.pbs": JobState(Status.STATUS_FAILED, None, "not started (Exit_status -1)"),
    }
    assert Pbs().task_id("45[].pbs", 1) == "45[1].pbs"


# What qstat of slurm-wlm-torque 22.05 printed.
TORQUE = """\
Job Id:\t1
\tJob_Name = a.sh
\tjob_state = C
\tqtime = Sat Nov 21 17:34:58 2026
\texec_host = n1/1
\tResource_List.ncpus = 1

Job Id:\t10
\tJob_Name = pp
\tjob_state = R
\texec_host = n1/2
"""


def test_torque_does_not_say_how_a_job_ended():
    torque = Pbs(has_history=False)
    assert torque.query_command(["1", "10"], arrays=False) == ["qstat", "-f", "1", "10"]
    found = torque.parse_query(Answer(TORQUE))
    assert found == {
        "1": JobState(Status.STATUS_COMPLETED, None, "", "n1"),
        "10": JobState(Status.STATUS_RUNNING, None, "", "n1"),
    }


def test_jobs_that_are_not_known_are_left_out_and_a_server_that_does_not_answer_is_an_error():
    out = "Job Id: 7.pbs\n    job_state = R\n"
    assert list(Pbs().parse_query(Answer(out, "qstat: Unknown Job Id 9.pbs\n", 153))) == ["7.pbs"]
    silence = Answer("", "Connection refused\nqstat: cannot connect to server pbs (errno=111)\n", 111)
    with pytest.raises(SchedulerError, match="cannot connect to server"):
        Pbs().parse_query(silence)
    assert Pbs().is_unreached(silence)
    assert Pbs().adapted(silence) == Pbs()


@pytest.mark.parametrize(
    "answer",
    [
        Answer("", "qstat: PBS is not configured to maintain job history", 1),
        Answer("", "Unknown option: x\nUsage:\n    qstat [-f]", 2),
        Answer("<Data><Job><Job_Id>1.torque</Job_Id></Job></Data>"),
    ],
)
def test_without_a_history_only_present_jobs_are_asked_for(answer):
    with pytest.raises(SchedulerError):
        Pbs().parse_query(answer)
    assert Pbs().adapted(answer) == Pbs(has_history=False)


def test_the_id_of_a_submission_or_all_that_was_said():
    for printed in ("17.pbs\n", "17[].pbs\n", "17\n", "17.server.example.org\n"):
        assert Pbs().parse_submission(Answer(printed)) == printed.strip()
    with pytest.raises(SchedulerError, match="no id of the job; it said: qsub: Unknown queue"):
        Pbs().parse_submission(Answer("", "qsub: Unknown queue\n", 170))


def test_the_hosts_of_an_allocation():
    source = Pbs().allocation_hosts({"PBS_NODEFILE": "/var/nodes"})
    assert source.file == "/var/nodes"
    assert Pbs().allocation_tasks({}, "n1\nn1\nn2\n") == {"n1": 2, "n2": 1}
    assert Pbs().allocation_hosts({}) is None
