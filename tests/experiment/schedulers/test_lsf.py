"""LSF: `jsrun` command lines, ERF files and `bsub` scripts, word for word."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, SchedulerError, UnsupportedError
from smartml.experiment.schedulers.batch_system import Answer, JobState
from smartml.experiment.schedulers.lsf import LSF, BsubBatchSettings, JsrunSettings
from smartml.experiment.schedulers.settings import Placement, RunSettings
from smartml.experiment.states import Status


@pytest.fixture
def place():
    return Placement("m", "m-ID", "/cwd", "/cwd/m.out", "/cwd/m.err")


def test_all_settings_stand_in_one_line(place, words):
    settings = JsrunSettings("echo", ["hi there", "b"], env_vars={"A": 1, "B": "x,y", "N": None})
    settings.set_num_rs(2)
    settings.set_cpus_per_rs(4)
    settings.set_gpus_per_rs(1)
    settings.set_rs_per_host(1)
    settings.set_tasks(4)
    settings.set_binding("packed:2")
    settings.set_individual_output("_%t")
    assert words(settings.command(place)) == (
        "jsrun --chdir /cwd --stdio_stdout /cwd/m_%t.out --stdio_stderr /cwd/m_%t.err -E A=1 -E B=x,y -E N "
        "--nrs=2 --cpu_per_rs=4 --gpu_per_rs=1 --rs_per_host=1 --np=4 --bind=packed:2 --stdio_mode=individual "
        "echo hi there b"
    )


@pytest.mark.parametrize(
    ("setter", "arguments", "expected"),
    [
        ("set_tasks_per_node", (2,), "--tasks_per_rs=2"),
        ("set_tasks_per_rs", (2,), "--tasks_per_rs=2"),
        ("set_cpus_per_task", (3,), "--cpu_per_rs=3"),
        ("set_cpus_per_rs", ("ALL_CPUS",), "--cpu_per_rs=ALL_CPUS"),
        ("set_gpus_per_rs", (0,), "--gpu_per_rs=0"),
        ("set_num_rs", ("ALL_HOSTS",), "--nrs=ALL_HOSTS"),
        ("set_memory_per_rs", (10,), "--memory_per_rs=10"),
        ("set_memory_per_node", (10,), "--memory_per_rs=10"),
        ("set", ("h", "/x"), ""),
        ("set", ("-o", "/x"), ""),
        ("set_hostlist", ("h",), ""),
    ],
)
def test_each_setter_sets_its_option(setter, arguments, expected):
    settings = JsrunSettings("echo")
    getattr(settings, setter)(*arguments)
    assert " ".join(settings.format_run_args()) == expected


ERF = """\
launch_distribution : packed

app 0 : {folder}/echo a 'b c'
app 1 : env Q=1 {folder}/sleep 1

rank: 0,1: {{ host: 2; cpu: {{0:4}}; gpu: *}}: app 0
1 : {{ host: *; cpu: *; gpu: *}}: app 1
"""


def test_several_programs_are_listed_in_a_file(place, words, bare_machine):
    settings = JsrunSettings("true")
    first = JsrunSettings("echo", ["a", "b c"])
    first.set_erf_sets({"rank": "0,1", "host": "2", "cpu": "{0:4}", "gpu": "*"})
    settings.make_mpmd(first)
    settings.make_mpmd(JsrunSettings("sleep", "1", env_vars={"Q": 1}))
    assert words(settings.command(place)) == (
        "jsrun --chdir /cwd --stdio_stdout /cwd/m.out --stdio_stderr /cwd/m.err --erf_input /cwd/m.mpmd"
    )
    assert settings.side_files(place) == {"/cwd/m.mpmd": ERF.format(folder=bare_machine)}
    settings.set_mpmd_preamble(["overlapping_rs : allow"])
    assert settings.erf_text("/cwd").splitlines()[:2] == ["overlapping_rs : allow", ""]
    first.set_erf_sets({"rank_count": "4", "host": "1"})
    assert "\n4: { host: 1}: app 0\n" in settings.erf_text("/cwd")


def test_what_cannot_be_listed_is_refused():
    settings = JsrunSettings("echo")
    with pytest.raises(ArgumentTypeError, match="takes JsrunSettings"):
        settings.make_mpmd("echo")
    with pytest.raises(ArgumentTypeError, match="erf_sets"):
        settings.set_erf_sets({"host": 1})
    with pytest.raises(ArgumentTypeError, match="preamble_lines"):
        settings.set_mpmd_preamble("one")
    with pytest.raises(ArgumentValueError, match="'ALL_CPUS', got 'all'"):
        settings.set_cpus_per_rs("all")
    settings.make_mpmd(JsrunSettings("echo"))
    with pytest.raises(UnsupportedError, match="'lsf'"):
        settings.local_command("/cwd")


SCRIPT = """\
#!/bin/bash

#BSUB -W 01:00
#BSUB -P p
#BSUB -J bt-ID
#BSUB -o /st/bt.out
#BSUB -e /st/bt.err
#BSUB -alloc_flags "gpumps smt4"
#BSUB -nnodes 2
#BSUB -q q
#BSUB -m "h1 h2"
module load x

(begin m; cd /cwd && jsrun --chdir /cwd --stdio_stdout /cwd/m.out --stdio_stderr /cwd/m.err --np=1 {echo} hi; \
end m "$?") &
pids+=($!)

"""


def test_the_script_of_a_job(place, job, bare_machine, own_lines):
    settings = BsubBatchSettings(2, "01:00:30", "p", {"alloc_flags": "gpumps"}, smts=4, queue="q")
    settings.set_hostlist(["h1", "h2"])
    # SmartSim leaves the preamble out.
    settings.add_preamble("module load x")
    script = settings.script(job, [(JsrunSettings("echo", "hi", {"np": 1}), place)])
    assert own_lines(script) == SCRIPT.format(echo=bare_machine / "echo")
    assert settings.submit_command("bt.sh") == ["bsub"] and settings.reads_script


def test_options_as_they_stand_in_the_script():
    settings = BsubBatchSettings(nodes=2, smts=2)
    settings.set_tasks(3)
    assert settings.format_batch_args() == ["-alloc_flags smt2", "-nnodes 2", "-n 3"]
    settings.set_expert_mode_req("1*{select[LN]}", 5)
    assert settings.format_batch_args() == ["-alloc_flags smt2", "-n 5", "-csm y", '-R "1*{select[LN]}"']
    with pytest.raises(ArgumentValueError, match="HH:MM, HH:MM:SS"):
        settings.set_walltime("3600")


def test_a_job_array_is_part_of_the_name(place, job):
    settings = BsubBatchSettings(nodes=1)
    settings.set_array(at_once=3)
    script = settings.script(job, [(RunSettings("true"), place)] * 2)
    assert "#BSUB -J bt-ID[1-2]%3\n#BSUB -o /st/bt_%I.job.out\n" in script
    assert 'case "$LSB_JOBINDEX" in\n1)\n' in script


# Fields as bjobs(1), "-o", gives them, with the delimiter that is asked for.
QUEUE = """\
101|0|PEND|-|-|-
102|0|RUN|-|-|4*n1:2*n2
103|0|DONE|-|-|n1
104|0|EXIT|3|-|n1
105|0|EXIT|137|TERM_RUNLIMIT: job killed after reaching LSF run time limit|n1
106|0|EXIT|130|TERM_OWNER: job killed by owner|-
107[1]|1|RUN|-|-|n1
107|2|USUSP|-|-|n1
108|0|UNKWN|-|-|n3
109|0|ZOMBI|-|-|n3
"""


def test_the_states_of_all_jobs_in_one_query():
    command = LSF.query_command(["101", "107"], arrays=True)
    fields = "jobid jobindex stat exit_code exit_reason exec_host delimiter='|'"
    assert command == ["bjobs", "-a", "-noheader", "-o", fields, "101", "107"]
    limit = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"
    assert LSF.parse_query(Answer(QUEUE)) == {
        "101": JobState(Status.STATUS_QUEUED),
        "102": JobState(Status.STATUS_RUNNING, None, "", "n1,n2"),
        "103": JobState(Status.STATUS_COMPLETED, 0, "", "n1"),
        "104": JobState(Status.STATUS_FAILED, 3, "", "n1"),
        "105": JobState(Status.STATUS_FAILED, -9, limit, "n1"),
        "106": JobState(Status.STATUS_CANCELLED, -2, "TERM_OWNER: job killed by owner"),
        "107[1]": JobState(Status.STATUS_RUNNING, None, "", "n1"),
        "107[2]": JobState(Status.STATUS_PAUSED, None, "", "n1"),
        "108": JobState(Status.STATUS_RUNNING, None, "UNKWN", "n3"),
        "109": JobState(Status.STATUS_RUNNING, None, "ZOMBI", "n3", is_ending=True),
    }


def test_jobs_that_are_not_known_are_left_out_and_a_daemon_that_does_not_answer_is_an_error():
    assert list(LSF.parse_query(Answer("7|0|RUN|-|-|n1\n", "Job <9> is not found\n", 255))) == ["7"]
    silence = Answer("", "LSF is down. Please wait ...\n", 255)
    with pytest.raises(SchedulerError, match="bjobs does not answer: LSF is down"):
        LSF.parse_query(silence)
    assert LSF.is_unreached(silence)


def test_the_id_of_a_submission_or_all_that_was_said():
    assert LSF.parse_submission(Answer("Job <17> is submitted to default queue <normal>.\n")) == "17"
    with pytest.raises(SchedulerError, match=r"it said: q: No such queue\. Job not submitted"):
        LSF.parse_submission(Answer("", "q: No such queue. Job not submitted.\n", 255))


@pytest.mark.parametrize(
    ("environment", "text"), [({"LSB_DJOB_HOSTFILE": "/hosts"}, None), ({"LSB_HOSTS": "n1 n1 n2"}, "n1\nn1\nn2")]
)
def test_the_hosts_of_an_allocation(environment, text):
    source = LSF.allocation_hosts(environment)
    assert source.file == "/hosts" if text is None else source.text == text
    assert LSF.allocation_tasks({}, text or "n1\nn1\nn2\n") == {"n1": 2, "n2": 1}
    assert LSF.allocation_hosts({}) is None
