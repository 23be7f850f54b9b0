"""PBS, LSF and Grid Engine, played by programs on the PATH, and Torque's commands over a real Slurm."""

import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import wait_until
from slurm import PBS_PLUGIN

from smartml.errors import SubmissionError
from smartml.experiment import Experiment
from smartml.experiment.batch_jobs import attach

PLAYED = Path(__file__).parent.parent / "schedulers" / "played.py"

COMMANDS = {
    "lsf": ("bsub", "bjobs", "bkill"),
    "sge": ("qsub", "qstat", "qdel", "qacct"),
    "pbs": ("qsub", "qstat", "qdel", "qsig"),
}


class Played:
    """The queue of a scheduler that is played."""

    def __init__(self, system, folder):
        self.system = system
        self.folder = folder

    def jobs(self):
        return [json.loads(file.read_text()) for file in self.folder.glob("*.job")]

    def set(self, name):
        (self.folder / name).touch()

    def clear(self, name):
        (self.folder / name).unlink()

    def calls(self):
        return (self.folder / "calls").read_text().split()


@pytest.fixture(params=COMMANDS)
def played(request, tmp_path, monkeypatch):
    """Play one of the schedulers; nothing that it runs is left."""
    queue, commands = tmp_path / "queue", tmp_path / "commands"
    queue.mkdir()
    commands.mkdir()
    for name in COMMANDS[request.param]:
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {PLAYED} {request.param} {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("PLAYED_QUEUE", str(queue))
    monkeypatch.setenv("SMARTML_QUERY_INTERVAL_S", "0.2")
    monkeypatch.chdir(tmp_path)
    made = Played(request.param, queue)
    yield made
    for job in made.jobs():
        if job["pid"] and not job["ended"]:
            os.killpg(job["pid"], signal.SIGKILL)
    wait_until(lambda: all(job["ended"] for job in made.jobs() if job["pid"]))


@pytest.fixture
def exp(played):
    made = Experiment("exp", launcher=played.system)
    yield made
    made.stop(grace_s=1)


@pytest.fixture
def job(exp):
    def describe(code, name="job", **options):
        settings = exp.create_run_settings("bash", ["-c", code], run_command=None)
        return exp.create_model(name, settings, batch_settings=exp.create_batch_settings(), **options)

    return describe


def array_of(exp, code, replicas=3):
    batch = exp.create_batch_settings()
    batch.set_array()
    settings = exp.create_run_settings("bash", ["-c", code], run_command=None)
    return exp.create_ensemble("ens", batch_settings=batch, run_settings=settings, replicas=replicas)


def test_jobs_end_well_and_badly(exp, job):
    good, bad, killed = job("echo $PWD", "good"), job("exit 3", "bad"), job("kill -SEGV $$", "killed")
    exp.start(good, bad, killed)
    assert exp.get_status(good, bad, killed) == ["Completed", "Failed", "Failed"]
    assert Path(good.path, "good.out").read_text() == f"{good.path}\n"
    codes = [line.split("|")[8].strip() for line in exp.summary().splitlines()[2:]]
    assert codes == ["0", "3", "-11"]


def test_the_tasks_of_an_array_and_the_programs_of_one_job_end_each_on_its_own(exp):
    code = 'exit "${SMARTML_ENTITY##*_}"'
    array = array_of(exp, code)
    settings = exp.create_run_settings("bash", ["-c", code], run_command=None)
    one = exp.create_ensemble("one", batch_settings=exp.create_batch_settings(), run_settings=settings, replicas=2)
    exp.start(array, one)
    assert exp.get_status(array) == ["Completed", "Failed", "Failed"]
    assert exp.get_status(one) == ["Completed", "Failed"]
    assert (Path(array.path) / f"ens_{2 + (exp.launcher != 'pbs')}.job.err").exists()


def test_jobs_wait_run_and_are_cancelled(exp, job, played, eventually):
    played.set("held")
    waits = job("sleep 100", "waits")
    exp.start(waits, block=False)
    eventually(lambda: played.jobs())
    assert exp.get_status(waits) == ["Queued"]
    exp.stop(waits)
    played.clear("held")
    runs = job("sleep 100", "runs")
    exp.start(runs, block=False)
    eventually(lambda: exp.get_status(runs) == ["Running"])
    exp.stop(runs)
    assert exp.get_status(waits, runs) == ["Cancelled"] * 2
    assert not [job for job in played.jobs() if not job["ended"]]


def test_one_task_is_cancelled_alone(exp, played, eventually):
    array = array_of(exp, "sleep 100", 2)
    exp.start(array, block=False)
    eventually(lambda: exp.get_status(array) == ["Running"] * 2)
    exp.stop(array["ens_1"])
    assert exp.get_status(array) == ["Running", "Cancelled"]


def test_what_does_not_end_is_killed(exp, job, eventually):
    model = job("trap 'echo no' TERM; touch ready; while true; do sleep 0.05; done")
    exp.start(model, block=False)
    eventually(lambda: Path(model.path, "ready").exists())
    exp.stop(model, grace_s=0.3)
    assert exp.get_status(model) == ["Cancelled"]


def test_a_job_that_is_cancelled_behind_our_back_has_not_completed(exp, job, played, eventually):
    model = job("sleep 100")
    exp.start(model, block=False)
    eventually(lambda: exp.get_status(model) == ["Running"])
    (running,) = played.jobs()
    os.killpg(running["pid"], signal.SIGKILL)
    assert exp.wait(model, timeout_s=30)
    assert exp.get_status(model)[0] in ("Failed", "Cancelled")


def test_a_scheduler_that_is_down_for_a_while_costs_nothing(exp, job, played, eventually, tmp_path):
    model = job(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 3")
    exp.start(model, block=False)
    eventually(lambda: exp.get_status(model) == ["Running"])
    played.set("calls")
    played.set("down")
    (tmp_path / "go").touch()
    eventually(lambda: len(played.calls()) >= 2)
    assert exp.get_status(model) == ["Running"]
    played.clear("down")
    assert exp.wait(model, timeout_s=30)
    assert exp.get_status(model) == ["Failed"]


def test_a_script_is_handed_in_again_when_the_scheduler_could_not_be_reached(exp, job, played, caplog):
    played.set("down")
    model = job("true")

    def repair():
        wait_until(lambda: "cannot be reached, 'job' is handed in again in 1 s" in caplog.text)
        played.clear("down")

    with ThreadPoolExecutor(1) as pool:
        repaired = pool.submit(repair)
        exp.start(model)
        repaired.result()
    assert exp.get_status(model) == ["Completed"]
    assert len(played.jobs()) == 1


def test_a_job_that_is_refused_is_an_error_with_the_words_of_the_scheduler(exp, job, played):
    model = job("true")
    if played.system == "sge":
        model.batch_settings.set_project("none")
    else:
        model.batch_settings.set_queue("none")
    with pytest.raises(SubmissionError, match=r"(?i)no such queue|unknown queue|not known"):
        exp.start(model)


def test_all_jobs_are_asked_for_by_one_command(exp, job, played):
    played.set("calls")
    begin = time.monotonic()
    exp.start(*(job("sleep 1", f"job{number}") for number in range(6)))
    query = {"lsf": "bjobs"}.get(played.system, "qstat")
    calls = played.calls()
    assert calls.count("qsub") + calls.count("bsub") == 6
    # At intervals, however many jobs there are.
    assert calls.count(query) <= 2 + (time.monotonic() - begin) / 0.2


# After the others: from here on PBS is known to keep no history.
def test_a_queue_that_forgets_at_once_and_keeps_no_books_loses_no_exit_code(exp, job, played):
    played.set("forgetful")
    good, bad = job("true", "good"), job("sleep 1; exit 3", "bad")
    exp.start(good, bad)
    assert exp.get_status(good, bad) == ["Completed", "Failed"]


@pytest.mark.long
def test_a_job_that_nobody_knows_is_said_to_be_lost(played, tmp_path):
    record = {"launcher": played.system, "job": "99", "name": "lost", "codes": str(tmp_path), "outputs": []}
    (lost,) = attach([{**record, "index": None, "shares_job": False, "grace_s": 1, "command": ["x"], "folder": ""}])
    wait_until(lambda: lost.has_ended, 90)
    assert (lost.status, lost.returncode) == ("Failed", None)
    assert "never listed it, and no exit code was noted in" in lost.ending


@pytest.fixture
def torque(slurm, tmp_path, monkeypatch):
    """Experiments of PBS by the commands of slurm-wlm-torque."""
    for command in ("qsub", "qstat", "qdel"):
        if not shutil.which(command) or not PBS_PLUGIN.exists():
            pytest.skip(f"no {command} of Torque: apt-get install slurm-wlm-torque")
    monkeypatch.chdir(tmp_path)
    made = Experiment("exp", launcher="pbs")
    yield made
    made.stop(grace_s=1)


def torque_job(exp, code, name="job"):
    settings = exp.create_run_settings("bash", ["-c", code], run_command=None)
    batch = exp.create_batch_settings(time="00:10:00")
    # They take no paths from the script.
    batch.set_batch_command("qsub")
    return exp.create_model(name, settings, batch_settings=batch)


def test_torque_runs_jobs_whose_exit_codes_it_does_not_tell(torque):
    good, bad = torque_job(torque, "echo $PBS_JOBNAME", "good"), torque_job(torque, "exit 3", "bad")
    torque.start(good, bad)
    assert torque.get_status(good, bad) == ["Completed", "Failed"]
    assert Path(good.path, "good.out").read_text() == "good\n"


def test_torque_ends_jobs(torque, slurm, eventually):
    model = torque_job(torque, "sleep 100")
    torque.start(model, block=False)
    eventually(lambda: torque.get_status(model) == ["Running"])
    torque.stop(model)
    assert torque.get_status(model) == ["Cancelled"]
    assert slurm.jobs() == []


def test_torque_runs_the_members_of_an_ensemble_in_one_job_on_named_hosts(torque):
    settings = torque.create_run_settings("bash", ["-c", "echo $SLURM_JOB_NODELIST; exit ${SMARTML_ENTITY#ens_}"], None)
    batch = torque.create_batch_settings(nodes=2)
    ensemble = torque.create_ensemble("ens", batch_settings=batch, run_settings=settings, replicas=2)
    torque.start(ensemble)
    assert torque.get_status(ensemble) == ["Completed", "Failed"]
    assert Path(ensemble.models[0].path, "ens_0.out").read_text() == "n[1-2]\n"
