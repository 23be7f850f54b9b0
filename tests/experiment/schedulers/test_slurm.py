"""Slurm: `srun` command lines, `sbatch` scripts, word for word, and what its commands answer."""

import os
import signal
import subprocess

import pytest
from servers import wait_until

from smartml.errors import AllocationError, ArgumentTypeError, ArgumentValueError, SchedulerError, UnsupportedError
from smartml.experiment.schedulers.batch_system import Answer, JobState
from smartml.experiment.schedulers.containers import Singularity
from smartml.experiment.schedulers.settings import Placement, RunSettings
from smartml.experiment.schedulers.slurm import SLURM, SbatchSettings, SrunSettings
from smartml.experiment.states import Status

STEP = "srun --output /st/m.out --error /st/m.err --job-name m-ID"


def srun(**options):
    return SrunSettings("echo", ["hi there", "b"], **options)


def test_all_settings_of_a_step_stand_in_one_line(place, words):
    settings = srun(env_vars={"A": 1, "B": "x,y", "N": None}, alloc=77)
    settings.set_nodes(2)
    settings.set_tasks(4)
    settings.set("exclusive")
    settings.set_cpu_bindings([0, 1])
    settings.set_memory_per_node(10)
    settings.set_node_feature("gpu")
    settings.set_broadcast("/t")
    assert words(settings.command(place)) == (
        "env B=x,y srun --output /st/m.out --error /st/m.err --job-name m-ID --jobid 77 --export ALL,A=1,N,B "
        "--nodes=2 --ntasks=4 --exclusive --cpu_bind=map_cpu:0,1 --mem=10M -C gpu --bcast=/t echo hi there b"
    )


@pytest.mark.parametrize(
    ("setter", "arguments", "expected"),
    [
        ("set_nodes", (2,), "--nodes=2"),
        ("set_nodes", ("2",), "--nodes=2"),
        ("set_tasks", (4,), "--ntasks=4"),
        ("set_tasks_per_node", (2,), "--ntasks-per-node=2"),
        ("set_cpus_per_task", (3,), "--cpus-per-task=3"),
        ("set_cpu_bindings", (5,), "--cpu_bind=map_cpu:5"),
        ("set_hostlist", (["n1", "n2"],), "--nodelist=n1,n2"),
        ("set_hostlist", ("n[1,3-4], m1",), "--nodelist=n[1,3-4],m1"),
        ("set_hostlist_from_file", ("hosts",), "--nodefile=hosts"),
        ("set_excluded_hosts", ("n3",), "--exclude=n3"),
        ("set_memory_per_node", (10,), "--mem=10M"),
        ("set_walltime", ("1-02:03:04",), "--time=1-02:03:04"),
        ("set_time", (1, 2, 3), "--time=01:02:03"),
        ("set_time", (30,), "--time=30:00:00"),
        ("set_verbose_launch", (True,), "--verbose"),
        ("set_quiet_launch", (True,), "--quiet"),
        ("set_quiet_launch", (False,), ""),
        ("set_broadcast", (), "--bcast"),
        ("set_broadcast", ("/t",), "--bcast=/t"),
        ("set_node_feature", (["a", "b"],), "-C a,b"),
        ("set", ("--gpus", 0), "--gpus=0"),
        ("set", ("p", "debug"), "-p debug"),
        ("set", ("exclusive", None, False), ""),
    ],
)
def test_each_setter_sets_its_option(setter, arguments, expected):
    settings = srun()
    getattr(settings, setter)(*arguments)
    assert " ".join(settings.format_run_args()) == expected


@pytest.mark.parametrize("setter", ["set_task_map", "set_binding"])
def test_what_srun_has_no_option_for_is_warned_about(setter, caplog):
    settings = srun()
    getattr(settings, setter)("core")
    assert f"SrunSettings has no option for {setter}" in caplog.text
    assert settings.format_run_args() == []


def test_what_smartml_sets_is_warned_about_and_ignored(caplog):
    settings = srun(run_args={"--chdir": "/x"})
    settings.set("-D", "/x")
    settings.run_args["chdir"] = "/x"
    assert settings.format_run_args() == []
    assert caplog.text.count("is set by smartml") == 2


def test_several_programs_share_a_step(place, words):
    settings = SrunSettings("echo", "a", run_args={"nodes": 1}, alloc="77")
    settings.make_mpmd(SrunSettings("sleep", "1", run_args={"ntasks": 2}, env_vars={"Z": 1}))
    assert words(settings.command(place)) == (
        f"{STEP} --jobid 77 --nodes=1 echo a : --ntasks=2 --job-name m-ID --export ALL,Z=1 sleep 1"
    )


def test_programs_that_cannot_share_a_step_are_refused(monkeypatch):
    settings = srun()
    with pytest.raises(ArgumentTypeError, match="takes SrunSettings"):
        settings.make_mpmd(RunSettings("echo"))
    with pytest.raises(ArgumentValueError, match="one other program"):
        settings.make_mpmd(settings)
    with pytest.raises(UnsupportedError, match="containers"):
        settings.make_mpmd(srun(container=Singularity("image.sif")))
    monkeypatch.setenv("SLURM_HET_SIZE", "2")
    with pytest.raises(ArgumentValueError, match="set_het_group"):
        settings.make_mpmd(srun())


def test_components_are_chosen_in_a_heterogeneous_job_alone(monkeypatch):
    settings = srun()
    with pytest.raises(ArgumentValueError, match="no heterogeneous job"):
        settings.set_het_group([0])
    monkeypatch.setenv("SLURM_HET_SIZE", "2")
    settings.set_het_group([0, 1])
    assert settings.format_run_args() == ["--het-group=0,1"]
    with pytest.raises(ArgumentValueError, match=r"0 to 1.*got \[2\]"):
        settings.set_het_group([2])


def test_a_container_stands_before_the_program(place, words):
    settings = SrunSettings("/inside/run", "a", container=Singularity("image.sif"))
    assert words(settings.command(place)) == f"{STEP} singularity exec --pwd /cwd --bind /cwd image.sif /inside/run a"


def test_variables_of_the_experiment_are_handed_on(words):
    place = Placement("m", "m-ID", "/cwd", "o", "e", "9", {"SSDB": "a:1,b:2", "X": "theirs"})
    assert words(srun(env_vars={"X": "mine"}).command(place)).startswith(
        "env SSDB=a:1,b:2 srun --output o --error e --job-name m-ID --jobid 9 --export ALL,X=mine,SSDB echo"
    )


SCRIPT = """\
#!/bin/bash

#SBATCH --output=/st/bt.out
#SBATCH --error=/st/bt.err
#SBATCH --job-name=bt-ID
#SBATCH --exclusive
#SBATCH --nodes=2
#SBATCH --partition=q
#SBATCH --time=01:00:00
#SBATCH --account=acc
module load x
source env.sh

codes=/cwd/bt.codes
mkdir -p "$codes"
trap told=1 TERM INT
begin() {{ trap told=1 TERM; [ ! -e "$codes/$1" ] || exit "$(cat "$codes/$1")"; }}
end() {{
    [ "$2" -lt 128 ] || [ -n "$told" ] || sleep 1
    [ -n "$told" ] || {{ echo "$2" > "$codes/.$1" && mv "$codes/.$1" "$codes/$1"; }}
    exit "$2"
}}

(begin m; cd /cwd && srun --output /st/m.out --error /st/m.err --job-name m-ID --ntasks=1 {echo} 'hi there' b; \
end m "$?") &
pids+=($!)

code=0
for pid in "${{pids[@]}}"; do
    while wait "$pid"; own=$?; [ "$own" -gt 128 ] && kill -0 "$pid" 2> /dev/null; do :; done
    [ "$own" = 0 ] || code=$own
done
exit "$code"
"""


def test_the_script_of_a_job(place, job, bare_machine):
    settings = SbatchSettings(nodes=2, time="01:00:00", account="acc", batch_args={"exclusive": None}, queue="q")
    settings.add_preamble("module load x")
    settings.add_preamble(["source env.sh"])
    member = srun(run_args={"ntasks": 1})
    assert settings.script(job, [(member, place)]) == SCRIPT.format(echo=bare_machine / "echo")
    assert settings.submit_command("bt.sh") == ["sbatch", "--parsable", "bt.sh"]


@pytest.mark.parametrize(
    ("setter", "arguments", "expected"),
    [
        ("set_nodes", (2,), ["--nodes=2"]),
        ("set_partition", ("p",), ["--partition=p"]),
        ("set_queue", ("p",), ["--partition=p"]),
        ("set_account", ("a b",), ['--account="a b"']),
        ("set_cpus_per_task", (3,), ["--cpus-per-task=3"]),
        ("set_hostlist", (["n1", "n2"],), ["--nodelist=n1,n2"]),
        ("set_walltime", ("10",), ["--time=10"]),
    ],
)
def test_each_setter_of_a_job_sets_its_option(setter, arguments, expected):
    settings = SbatchSettings()
    getattr(settings, setter)(*arguments)
    assert settings.format_batch_args() == expected


@pytest.mark.parametrize("walltime", ["an hour", "1:2:3:4", "", "10 minutes"])
def test_a_walltime_that_slurm_does_not_know_is_refused(walltime):
    for settings in (SbatchSettings(), srun()):
        with pytest.raises(ArgumentValueError, match=r"HH:MM:SS, MM:SS, MM, D-HH"):
            settings.set_walltime(walltime)


def test_a_job_s_name_and_output_are_smartml_s(job, caplog):
    settings = SbatchSettings(batch_args={"--output": "x", "J": "x"})
    assert settings.format_batch_args() == []
    assert caplog.text.count("is set by smartml") == 2


def test_an_option_of_two_lines_is_refused():
    with pytest.raises(ArgumentValueError, match="more than one line"):
        SbatchSettings(account="a\nrm -rf").format_batch_args()


def run_script(tmp_path, *members, name="bt"):
    places = [Placement(f"m{i}", "", str(tmp_path), f"m {i}.out", f"m {i}.err") for i in range(len(members))]
    job = Placement(name, name, str(tmp_path), "bt.out", "bt.err")
    script = SbatchSettings().script(job, list(zip(members, places, strict=True)))
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True)


def test_a_job_runs_its_members_with_their_variables_output_and_odd_words(tmp_path):
    code = 'echo "$X" "$1" "$PWD"'
    done = run_script(tmp_path, RunSettings("sh", ["-c", code, "", "it's a;b $HOME"], env_vars={"X": "x y"}))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "m 0.out").read_text() == f"x y it's a;b $HOME {tmp_path}\n"


def test_a_job_fails_when_any_of_its_members_does_and_notes_the_exit_code_of_each(tmp_path):
    done = run_script(tmp_path, RunSettings("sh", ["-c", "exit 3"]), RunSettings("true"))
    assert done.returncode == 3
    assert {file.name: file.read_text() for file in (tmp_path / "bt.codes").iterdir()} == {"m0": "3\n", "m1": "0\n"}
    assert run_script(tmp_path, RunSettings("true"), RunSettings("true"), name="other").returncode == 0


def test_what_has_ended_does_not_run_again_when_a_job_begins_anew(tmp_path):
    count = RunSettings("sh", ["-c", "echo x >> runs; exit 3"])
    codes = [run_script(tmp_path, count, RunSettings("true")).returncode for _ in range(2)]
    assert codes == [3, 3]
    assert (tmp_path / "runs").read_text() == "x\n"


def test_a_program_that_ends_because_its_job_is_told_to_is_given_time_and_runs_again(tmp_path):
    waiting = RunSettings("bash", ["-c", "trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.05; done"])
    place = Placement("m0", "", str(tmp_path), "m0.out", "m0.err")
    script = SbatchSettings().script(Placement("bt", "bt", str(tmp_path), "bt.out", "bt.err"), [(waiting, place)])
    with subprocess.Popen(["bash", "-c", script], start_new_session=True) as process:
        wait_until(lambda: "ready" in (tmp_path / "m0.out").read_text() if (tmp_path / "m0.out").exists() else False)
        os.killpg(process.pid, signal.SIGTERM)
    assert (tmp_path / "m0.out").read_text() == "ready\nbye\n"
    assert list((tmp_path / "bt.codes").iterdir()) == []


def test_a_folder_of_codes_with_an_odd_name_is_as_good(tmp_path):
    done = run_script(tmp_path, RunSettings("true"), name='it\'s "odd" $HOME')
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / 'it\'s "odd" $HOME.codes' / "m0").read_text() == "0\n"


def test_a_job_array_has_a_task_for_each_member(place, job, tmp_path):
    settings = SbatchSettings(nodes=1)
    settings.set_array(at_once=2)
    script = settings.script(job, [(RunSettings("true"), place), (RunSettings("true"), place)])
    assert "#SBATCH --output=/st/bt_%a.job.out\n#SBATCH --error=/st/bt_%a.job.err\n" in script
    assert "#SBATCH --array=0-1%2\n#SBATCH --nodes=1\n" in script
    assert 'case "$SLURM_ARRAY_TASK_ID" in\n0)\n(begin m;' in script
    # Of a single member no array is made.
    assert "--array" not in settings.script(job, [(RunSettings("true"), place)])


def test_each_task_of_an_array_runs_its_member(tmp_path):
    settings = SbatchSettings()
    settings.set_array()
    places = [Placement(f"m{i}", "", str(tmp_path), f"m{i}.out", f"m{i}.err") for i in range(2)]
    members = [(RunSettings("sh", ["-c", f"echo {i}; exit {i}"]), place) for i, place in enumerate(places)]
    script = settings.script(Placement("bt", "bt", str(tmp_path), "bt.out", "bt.err"), members)
    done = subprocess.run(["bash", "-c", script], env={**os.environ, "SLURM_ARRAY_TASK_ID": "1"})
    assert done.returncode == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bin", "bt.codes", "m1.err", "m1.out"]


# What Slurm 22.05 printed for such jobs.
QUEUE = """\
1|N/A|FAILED|NonZeroExitCode|768|n1|0|
2|2|FAILED|NonZeroExitCode|9|n1|0|
5|0|PENDING|BeginTime|0||0|
8|N/A|PENDING|BeginTime|0||1|
3|N/A|RUNNING|None|0|n[1-2]|0|
18|N/A|COMPLETING|None|0|n1|0|
19|N/A|CANCELLED|None|15|n1|0|
20|N/A|TIMEOUT|TimeLimit|0|n1|0|
21|N/A|NODE_FAIL|None|1|n2|0|
22|N/A|OUT_OF_MEMORY|OutOfMemory|125|n2|0|
23|N/A|COMPLETED|None|0|n3|0|
24|N/A|SUSPENDED|None|0|n3|0|
25|N/A|FAILED|RaisedSignal:53(Real-time_signal_19)|0|n3|0|
"""


def test_the_states_of_all_jobs_in_one_query():
    found = SLURM.parse_query(Answer(QUEUE))
    assert found == {
        "1": JobState(Status.STATUS_FAILED, 3, "", "n1"),
        "2_2": JobState(Status.STATUS_FAILED, -9, "", "n1"),
        "5_0": JobState(Status.STATUS_QUEUED, None, "BeginTime"),
        "8": JobState(Status.STATUS_QUEUED, None, "BeginTime", restarts=1),
        "3": JobState(Status.STATUS_RUNNING, None, "", "n[1-2]"),
        "18": JobState(Status.STATUS_RUNNING, None, "", "n1", is_ending=True),
        "19": JobState(Status.STATUS_CANCELLED, None, "CANCELLED", "n1"),
        "20": JobState(Status.STATUS_FAILED, None, "TIMEOUT", "n1"),
        "21": JobState(Status.STATUS_FAILED, None, "NODE_FAIL", "n2"),
        "22": JobState(Status.STATUS_FAILED, None, "OUT_OF_MEMORY", "n2"),
        "23": JobState(Status.STATUS_COMPLETED, 0, "", "n3"),
        "24": JobState(Status.STATUS_PAUSED, None, "", "n3"),
        "25": JobState(Status.STATUS_FAILED, 0, "RaisedSignal:53(Real-time_signal_19)", "n3"),
    }
    assert SLURM.task_id("2", 2) == "2_2"


def test_a_queue_without_the_only_job_is_an_answer_and_one_that_cannot_be_reached_is_none():
    assert SLURM.parse_query(Answer("", "slurm_load_jobs error: Invalid job id specified\n", 1)) == {}
    silence = Answer("", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", 1)
    with pytest.raises(SchedulerError, match=r"squeue does not answer: .*connect failure"):
        SLURM.parse_query(silence)
    assert SLURM.is_unreached(silence)
    # It may have been taken.
    assert not SLURM.is_unreached(Answer("", "sbatch: error: Socket timed out on send/recv operation\n", 1))


def test_the_accounting_is_asked_for_what_left_the_queue():
    found = SLURM.parse_past(Answer("1|FAILED|3:0|n1\n2_1|CANCELLED by 1000|0:15|None assigned\n3|COMPLETED|0:0|n2\n"))
    assert found["1"] == JobState(Status.STATUS_FAILED, 3, "", "n1")
    assert found["2_1"] == JobState(Status.STATUS_CANCELLED, None, "CANCELLED")
    assert found["3"] == JobState(Status.STATUS_COMPLETED, 0, "", "n2")
    assert SLURM.parse_past(Answer("", "Slurm accounting storage is disabled\n", 1)) == {}


def test_the_id_of_a_submission_or_all_that_was_said():
    assert SLURM.parse_submission(Answer("17\n")) == "17"
    with pytest.raises(SchedulerError, match="no id of the job; it said: sbatch: error: invalid partition"):
        SLURM.parse_submission(Answer("", "sbatch: error: invalid partition specified: q\n", 1))
    with pytest.raises(SchedulerError, match="nothing, and exit code 0"):
        SLURM.parse_submission(Answer(""))
    with pytest.raises(SchedulerError, match="17;far, for another cluster"):
        SLURM.parse_submission(Answer("17;far\n"))


def test_the_hosts_of_an_allocation():
    source = SLURM.allocation_hosts({"SLURM_JOB_NODELIST": "n[1-2]"})
    assert source.command == ("scontrol", "show", "hostnames", "n[1-2]")
    text = "n1\nn2\nn3\nn4\n"
    expected = {"n1": 2, "n2": 2, "n3": 2, "n4": 1}
    assert SLURM.allocation_tasks({"SLURM_TASKS_PER_NODE": "2(x3),1"}, text) == expected
    with pytest.raises(AllocationError, match=r"'2' is not for these 4 nodes"):
        SLURM.allocation_tasks({"SLURM_TASKS_PER_NODE": "2"}, text)
    assert SLURM.allocation_hosts({}) is None
