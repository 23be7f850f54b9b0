"""Jobs of all kinds are waited for, stopped and reported alike; many of them leave nothing behind."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from smartml.experiment.job import Job, names_with_titles
from smartml.experiment.states import Status
from smartml.experiment.supervisor import report_failure, supervisor


class Errand(Job):
    """A job that somebody else watches: it ends when told to, and when cancelled."""

    cancelled = []

    id = property(lambda self: "17")
    title = property(lambda self: "errand 17")

    def record(self):
        return {"id": f"errand-{self.name}"}

    @classmethod
    def cancel(cls, jobs, grace_s=None):
        cls.cancelled.append(([job.name for job in jobs], grace_s))
        for job in jobs:
            job.end(-15)

    def _present_status(self):
        return Status.STATUS_QUEUED

    def _output_files(self):
        return []


@pytest.fixture
def adopt():
    """Have the supervisor take charge of a job; return it and the list that hears of its end."""

    def take(name="errand"):
        job, heard = Errand(name), []
        supervisor.adopt(job, on_end=heard.append)
        return job, heard

    Errand.cancelled.clear()
    return take


def test_a_job_that_others_watch_is_waited_for(adopt):
    job, heard = adopt()
    assert job.status == "Queued" and not supervisor.wait([job], 0.01)
    threading.Timer(0.05, job.end, [0]).start()
    assert supervisor.wait([job], 20)
    assert (job.status, job.returncode, heard) == ("Completed", 0, [job])


def test_what_ended_before_it_was_adopted_is_told_all_the_same():
    job, heard = Errand("early"), []
    job.end(3)
    supervisor.adopt(job, on_end=heard.append)
    assert supervisor.wait([job], 20)
    assert (job.status, heard) == ("Failed", [job])


def test_an_end_is_told_once(adopt):
    job, heard = adopt()
    job.end(3, "NODE_FAIL on n2")
    job.end(0)
    assert supervisor.wait([job], 20)
    assert (job.returncode, job.ending.split(" after")[0], heard) == (3, "NODE_FAIL on n2", [job])


def test_jobs_of_one_kind_are_stopped_in_one_go(adopt):
    jobs = [adopt(name)[0] for name in ("a", "b", "c")]
    jobs[1].end(0)
    assert supervisor.wait(jobs[1:2], 20)
    supervisor.stop(jobs, grace_s=7)
    assert Errand.cancelled == [(["a", "c"], 7)]
    assert [job.status for job in jobs] == ["Cancelled", "Completed", "Cancelled"]


def test_a_time_limit_holds_for_jobs_of_any_kind(adopt):
    job, _ = adopt()
    supervisor.limit(job, 0.05)
    assert supervisor.wait([job], 20)
    assert (job.status, job.ending.split(" after")[0]) == ("Failed", "time limit of 0.05 s exceeded")


def test_who_hears_of_an_end_does_not_hold_up_others(adopt):
    slow, quick = Errand("slow"), adopt()[0]
    release = threading.Event()
    supervisor.adopt(slow, on_end=lambda job: release.wait(20))
    slow.end(0)
    quick.end(0)
    assert supervisor.wait([quick], 20)
    assert slow.has_ended and not slow.is_over
    release.set()
    assert supervisor.wait([slow], 20)


def test_an_error_of_who_hears_of_an_end_does_not_keep_others_waiting(caplog):
    job = Errand("errand")
    supervisor.adopt(job, on_end=lambda job: 1 / 0)
    job.end(0)
    assert supervisor.wait([job], 20)


@pytest.mark.parametrize(
    ("returncode", "reason", "status", "words"),
    [
        (0, "", "Completed", "exit code 0"),
        (3, "", "Failed", "exit code 3"),
        (-9, "", "Failed", "killed by SIGKILL"),
        (-200, "", "Failed", "killed by signal 200"),
        (None, "", "Failed", "ended, exit code unknown,"),
        (0, "NODE_FAIL on n2", "Failed", "NODE_FAIL on n2"),
    ],
)
def test_endings_are_told_in_words(returncode, reason, status, words, caplog):
    job = Errand("errand")
    job.end(returncode, reason)
    assert job.status == status
    assert job.ending.startswith(f"{words} after 0.")
    report_failure(job)
    assert (f"errand failed: {words} after" in caplog.text) == (status == "Failed")


def test_jobs_are_named_with_what_finds_them():
    jobs = [Errand("a"), Errand("b"), Errand("c")]
    assert names_with_titles(jobs) == "a (errand 17), b (errand 17), c (errand 17)"
    assert names_with_titles(jobs, at_most=1) == "a (errand 17) and 2 more"


def test_many_programs_take_one_thread(exp):
    ensemble = exp.create_ensemble("ens", run_settings=exp.create_run_settings("sleep", "100"), replicas=30)
    before = threading.active_count()
    exp.start(ensemble, block=False)
    assert threading.active_count() <= before + 1
    exp.stop()
    assert set(exp.get_status(ensemble)) == {"Cancelled"}


def test_many_short_programs_all_end_with_their_codes(exp):
    settings = exp.create_run_settings("sh")
    models = [exp.create_model(f"m{code}", exp.create_run_settings("sh", ["-c", f"exit {code}"])) for code in range(40)]
    exp.start(*models, exp.create_ensemble("ens", run_settings=settings, replicas=10))
    codes = [line.split("|")[-2].strip() for line in exp.summary().splitlines()[2:]]
    assert codes == ["0"] * 10 + [str(code) for code in range(40)]


# A script with many programs, each with a child in a session of its own.
MANY = """
import time
from smartml.experiment import Experiment
exp = Experiment("exp")
settings = exp.create_run_settings("sh", ["-c", "setsid sleep 100 & echo $!; sleep 100"])
ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=30)
exp.start(ensemble, block=False)
for model in ensemble:
    while not open(f"{model.path}/{model.name}.out").read(): time.sleep(0.005)
print(flush=True)
exp.wait()
"""


def processes_in(folder):
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_many_programs_when_their_script_is_ended(script, tmp_path, eventually, number):
    process = script(MANY)
    assert process.stdout.readline() == "\n"
    assert len(processes_in(tmp_path / "exp" / "ens")) >= 60
    process.send_signal(number)
    process.communicate()
    eventually(lambda: not processes_in(tmp_path / "exp" / "ens"))


def test_a_forked_child_waits_for_its_own_jobs_and_not_for_its_parent_s(exp, tmp_path):
    # In a process of its own: forking this one with its threads would warn.
    code = """
import os, sys
from smartml.experiment import Experiment
exp = Experiment("exp", ".")
exp.start(exp.create_model("parent", exp.create_run_settings("sleep", "100")), block=False)
child = os.fork()
if child == 0:
    inner = Experiment("inner", ".")
    model = inner.create_model("child", inner.create_run_settings("sh", ["-c", "exit 3"]))
    inner.start(model)
    print(*inner.get_status(model), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(*exp.get_status("parent"), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "Failed\nRunning\n", done.stderr
