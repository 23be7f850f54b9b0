"""Jobs of a real Slurm: handed in, watched, cancelled, lost and found again."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from smartml.errors import ArgumentValueError, SubmissionError, UnsupportedError
from smartml.experiment import SbatchSettings, SrunSettings
from smartml.experiment.batch_jobs import BatchPlan, attach, submit
from smartml.experiment.job import names_with_titles
from smartml.experiment.schedulers.settings import Placement, RunSettings
from smartml.experiment.supervisor import report_failure, supervisor


def placement(folder, name):
    return Placement(name, name, str(folder), str(folder / f"{name}.out"), str(folder / f"{name}.err"))


@pytest.fixture
def plan(tmp_path):
    """Describe a job of several pieces of shell, side by side or as the tasks of an array."""

    def describe(*codes, name="job", is_array=False, **batch_args):
        settings = SbatchSettings(nodes=1, batch_args=batch_args or {"no-requeue": None})
        if is_array:
            settings.set_array()
        members = [
            (RunSettings("bash", ["-c", code]), placement(tmp_path / name / f"{name}_{index}", f"{name}_{index}"))
            for index, code in enumerate(codes)
        ]
        return BatchPlan("slurm", settings, placement(tmp_path / name, name), members)

    return describe


@pytest.fixture
def start():
    """Hand in a job; all that a test leaves behind is stopped."""
    started = []

    def hand_in(plan):
        jobs = submit(plan)
        for job in jobs:
            supervisor.adopt(job, on_end=report_failure)
        started.extend(jobs)
        return jobs

    yield hand_in
    supervisor.stop(started)


def ended(*jobs):
    # Slurm takes half a minute to say why a job has failed, after a controller that was away is there again.
    assert supervisor.wait(jobs, 180), names_with_titles(jobs)
    return [(job.status.value, job.returncode) for job in jobs]


def were_cancelled(*jobs):
    """Tell whether all were; the code is that of a signal where a script lived to note it."""
    return all(status == "Cancelled" and code in (None, -15) for status, code in ended(*jobs))


def running(eventually, *jobs):
    eventually(lambda: all(job.status == "Running" for job in jobs))


def test_a_job_runs_and_its_end_is_known(slurm, plan, start, tmp_path):
    (job,) = start(plan("echo $SLURM_JOB_ID; echo $PWD"))
    assert job.status == "Queued" and job.title == f"Slurm job {job.job_id}"
    assert ended(job) == [("Completed", 0)]
    assert (tmp_path / "job" / "job_0" / "job_0.out").read_text() == f"{job.job_id}\n{tmp_path}/job/job_0\n"


def test_a_job_that_fails_has_its_code_and_its_last_words_are_told(slurm, plan, start, caplog):
    (job,) = start(plan("echo 'no such grid' >&2; exit 3"))
    assert ended(job) == [("Failed", 3)]
    assert "job_0 failed: exit code 3 after" in caplog.text
    assert "job_0.err:\nno such grid" in caplog.text


def test_a_program_that_a_signal_ended_says_which(slurm, plan, start):
    (job,) = start(plan("kill -SEGV $$"))
    assert ended(job) == [("Failed", -11)]
    assert "killed by SIGSEGV" in job.ending


def test_each_program_of_one_job_has_its_own_end(slurm, plan, start, eventually, tmp_path):
    jobs = start(plan("exit 0", "exit 4", f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"))
    assert len({job.id for job in jobs}) == 1
    assert ended(*jobs[:2]) == [("Completed", 0), ("Failed", 4)]
    running(eventually, jobs[2])
    (tmp_path / "go").touch()
    assert ended(jobs[2]) == [("Completed", 0)]


def test_the_tasks_of_an_array_are_jobs_of_their_own(slurm, plan, start, eventually):
    jobs = start(plan("exit 0", "exit 5", "sleep 100", is_array=True))
    assert [job.id for job in jobs] == [f"{jobs[0].job_id}_{index}" for index in range(3)]
    assert ended(*jobs[:2]) == [("Completed", 0), ("Failed", 5)]
    running(eventually, jobs[2])
    supervisor.stop([jobs[2]])
    assert were_cancelled(jobs[2])
    assert slurm.jobs() == []


def test_of_an_array_no_more_run_at_once_than_is_allowed(slurm, plan, start, eventually):
    limited = plan("sleep 100", "sleep 100", is_array=True)
    limited.settings.set_array(at_once=1)
    first, second = start(limited)
    eventually(lambda: second.waits_for == "JobArrayTaskLimit")
    assert (first.status, second.status) == ("Running", "Queued")
    assert second.runtime_s == 0


def test_jobs_are_cancelled_while_they_wait_and_while_they_run(slurm, plan, start, eventually):
    (runs,) = start(plan("sleep 100", name="runs"))
    (waits,) = start(plan("sleep 100", name="waits", begin="now+1hour"))
    running(eventually, runs)
    supervisor.stop([runs, waits])
    assert were_cancelled(runs, waits)
    assert slurm.jobs() == []


def test_a_program_that_does_not_end_when_asked_to_is_killed_after_its_time(slurm, plan, start, eventually, tmp_path):
    code = "trap 'echo no' TERM; touch ready; while true; do sleep 0.1; done"
    (job,) = start(plan(code))
    eventually(lambda: (tmp_path / "job" / "job_0" / "ready").exists())
    supervisor.stop([job], grace_s=0.2)
    assert were_cancelled(job)


def test_one_of_several_in_a_job_cannot_be_stopped_alone_but_all_of_them(slurm, plan, start, eventually):
    jobs = start(plan("sleep 100", "sleep 100"))
    running(eventually, *jobs)
    with pytest.raises(UnsupportedError, match=r"job_0 cannot be stopped alone: Slurm job \d+ runs 1 more.*set_array"):
        supervisor.stop(jobs[:1])
    assert not jobs[0].is_cancelled
    supervisor.stop(jobs)
    assert were_cancelled(*jobs)


def test_a_job_that_someone_else_cancels_is_noticed(slurm, plan, start, eventually, caplog):
    (job,) = start(plan("sleep 100"))
    running(eventually, job)
    slurm.run("scancel", job.job_id)
    assert were_cancelled(job)
    assert "job_0 was cancelled, and not by this script: Slurm job" in caplog.text


def test_a_node_that_fails_is_named(slurm, plan, start, eventually, caplog):
    jobs = start(plan("sleep 100", "sleep 100", **{"no-requeue": None, "nodelist": "n3"}))
    running(eventually, *jobs)
    slurm.fail("n3")
    assert ended(*jobs) == [("Failed", None)] * 2
    assert f"job_0 failed: Slurm job {jobs[0].job_id}: NODE_FAIL on n3 after" in caplog.text


def test_a_job_that_is_put_back_into_the_queue_waits_again_and_what_had_ended_stays_so(
    slurm, plan, start, eventually, caplog, tmp_path
):
    counting = "echo x >> runs; [ -e again ] || touch again; [ $(wc -l < runs) = 2 ] || sleep 100"
    done, job = start(plan("echo x >> runs", counting, requeue=None))
    assert ended(done) == [("Completed", 0)]
    running(eventually, job)
    eventually(lambda: (tmp_path / "job" / "job_1" / "again").exists())
    slurm.run("scontrol", "requeue", job.job_id)
    eventually(lambda: job.status == "Queued")
    # It would be held back for two minutes, and be refused by its node within the second in which that ended it.
    requeued = time.time()
    eventually(lambda: time.time() > requeued + 2)
    slurm.run("scontrol", "update", f"jobid={job.job_id}", "StartTime=now")
    assert ended(job) == [("Completed", 0)]
    assert "job_1 was put back into the queue (Slurm job" in caplog.text
    assert (tmp_path / "job" / "job_0" / "runs").read_text() == "x\n"


@pytest.mark.long
def test_a_controller_that_is_away_for_a_while_costs_no_job(slurm, plan, start, eventually, tmp_path):
    waits = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; exit 3"
    lasting, brief = (
        start(plan(waits, name="lasting"))[0],
        start(plan(waits.replace("exit 3", "true"), name="brief"))[0],
    )
    running(eventually, lasting, brief)
    slurm.stop_controller()
    try:
        (tmp_path / "go").touch()
        # That it went well is known without the controller.
        assert ended(brief) == [("Completed", 0)]
        assert not lasting.has_ended
    finally:
        slurm.start_controller()
    assert ended(lasting) == [("Failed", 3)]


@pytest.mark.long
def test_a_submission_waits_for_a_controller_that_is_away(slurm, plan, start, eventually, caplog):
    slurm.stop_controller()
    with ThreadPoolExecutor(1) as pool:
        # The controller ends with the thread that started it: not with this one.
        submission = pool.submit(start, plan("true"))
        eventually(lambda: "Slurm cannot be reached, 'job' is handed in again in 1 s: sbatch: error" in caplog.text)
        slurm.start_controller()
        (job,) = submission.result()
    assert ended(job) == [("Completed", 0)]


@pytest.mark.parametrize(
    ("option", "said"),
    [({"partition": "none"}, "invalid partition"), ({"nodelist": "n9"}, "Invalid node name")],
)
def test_a_job_that_slurm_does_not_take_is_an_error_with_its_words(slurm, plan, option, said):
    with pytest.raises(SubmissionError, match=rf"(?s)'job' was not started: Slurm gave no id.*{said}.*job\.sh"):
        submit(plan("true", **option))
    assert slurm.jobs() == []


def test_a_submission_that_says_nothing_usable_is_an_error_with_what_it_said(slurm, plan, tmp_path):
    talker = tmp_path / "sbatch"
    talker.write_text("#!/bin/sh\necho 'Welcome to the cluster!'\n")
    talker.chmod(0o755)
    unclear = plan("true")
    unclear.settings.set_batch_command(str(talker))
    with pytest.raises(SubmissionError, match="gave no id of the job; it said: Welcome to the cluster!"):
        submit(unclear)


def test_a_model_cannot_be_an_array(plan):
    described = plan("true", is_array=True)
    alone = BatchPlan("slurm", described.settings, placement(described.file.parent, "job_0"), described.members)
    with pytest.raises(ArgumentValueError, match="set_array is for ensembles"):
        submit(alone)


def test_a_second_run_keeps_the_output_of_the_first_and_forgets_its_codes(slurm, plan, start, tmp_path):
    for code in (3, 0):
        (job,) = start(plan(f"echo {code}; exit {code}"))
        ended(job)
    assert job.returncode == 0
    folder = tmp_path / "job" / "job_0"
    assert [(folder / name).read_text() for name in ("job_0.1.out", "job_0.out")] == ["3\n", "0\n"]


def test_odd_names_and_folders_are_as_good(slurm, plan, start, tmp_path):
    odd = tmp_path / 'it\'s "odd" ü 100%j #1'
    place = placement(odd / "m 1", "m 1")
    described = BatchPlan(
        "slurm", SbatchSettings(), placement(odd, "j'ob"), [(RunSettings("bash", ["-c", "echo $PWD"]), place)]
    )
    (job,) = start(described)
    assert ended(job) == [("Completed", 0)]
    assert (odd / "m 1" / "m 1.out").read_text() == f"{odd}/m 1\n"
    assert (odd / "j'ob.out").exists()


def test_the_programs_of_a_job_may_be_steps_on_nodes_of_their_own(slurm, start, tmp_path):
    settings = SbatchSettings(nodes=2)
    members = []
    for index in range(2):
        step = SrunSettings("bash", ["-c", "echo $SLURMD_NODENAME $GREETING"], env_vars={"GREETING": "a,b"})
        step.set_nodes(1)
        step.set_tasks(1)
        members.append((step, placement(tmp_path / f"step_{index}", f"step_{index}")))
    jobs = start(BatchPlan("slurm", settings, placement(tmp_path, "steps"), members))
    assert ended(*jobs) == [("Completed", 0)] * 2
    words = [(tmp_path / f"step_{index}" / f"step_{index}.out").read_text().split() for index in range(2)]
    assert sorted(words) == [["n1", "a,b"], ["n2", "a,b"]]


def test_another_process_goes_on_watching_what_one_that_was_killed_had_started(slurm, plan, eventually, tmp_path):
    script = f"""
import json, os, pathlib, signal
from smartml.experiment import SbatchSettings
from smartml.experiment.batch_jobs import BatchPlan, submit
from smartml.experiment.schedulers.settings import Placement, RunSettings

def placement(name):
    folder = {str(tmp_path)!r}
    return Placement(name, name, folder, f"{{folder}}/{{name}}.out", f"{{folder}}/{{name}}.err")

settings = SbatchSettings()
settings.set_array()
wait = "while [ ! -e go ]; do sleep 0.1; done; "
members = [(RunSettings("bash", ["-c", wait + f"exit {{code}}"]), placement(f"m{{code}}")) for code in (0, 3)]
jobs = submit(BatchPlan("slurm", settings, placement("job"), members))
pathlib.Path({str(tmp_path / "records")!r}).write_text(json.dumps([job.record() for job in jobs]))
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "SMARTML_JOB": "a-mark-that-no-job-must-have"}
    done = subprocess.run([sys.executable, "-c", script], env=environment)
    assert done.returncode == -9
    jobs = attach(json.loads((tmp_path / "records").read_text()))
    running(eventually, *jobs)
    assert "SMARTML_JOB" not in slurm.run("scontrol", "show", "job", jobs[0].job_id)
    (tmp_path / "go").touch()
    eventually(lambda: all(job.has_ended for job in jobs))
    assert [(job.status, job.returncode) for job in jobs] == [("Completed", 0), ("Failed", 3)]


def test_a_job_that_the_queue_has_forgotten_is_known_by_its_code(slurm, tmp_path, eventually):
    codes = tmp_path / "job.codes"
    codes.mkdir()
    (codes / "known").write_text("7\n")
    record = {"launcher": "slurm", "job": "99999", "codes": str(codes), "outputs": [], "index": None}
    record |= {"shares_job": False, "grace_s": 1.0, "name": "known", "command": ["x"], "folder": ""}
    (job,) = attach([record])
    eventually(lambda: job.has_ended)
    assert (job.status, job.returncode) == ("Failed", 7)


def test_many_jobs_are_asked_for_in_few_queries(slurm, plan, start, tmp_path, monkeypatch):
    count = tmp_path / "bin" / "squeue"
    count.parent.mkdir()
    count.write_text(f'#!/bin/sh\necho x >> {tmp_path}/queries\nexec /usr/bin/squeue "$@"\n')
    count.chmod(0o755)
    monkeypatch.setenv("PATH", f"{count.parent}:{os.environ['PATH']}")
    begin = time.monotonic()
    jobs = [job for number in range(8) for job in start(plan("sleep 1", name=f"job{number}"))]
    assert ended(*jobs) == [("Completed", 0)] * 8
    queries = len((tmp_path / "queries").read_text().split())
    # At intervals, however many there are.
    assert queries <= 2 + (time.monotonic() - begin) / 0.2


@pytest.mark.long
def test_a_job_that_runs_out_of_time_says_so(slurm, plan, start, caplog):
    (job,) = start(plan("sleep 200", time="00:01:00"))
    assert supervisor.wait([job], 150)
    assert (job.status, job.returncode) == ("Failed", None)
    assert f"Slurm job {job.job_id}: TIMEOUT on n1" in caplog.text
