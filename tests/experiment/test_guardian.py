"""Nothing is left behind, in whatever way a script ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from smartml.experiment.guardian import find_processes

# A script that runs a database and a program with children, one in another session, one without an environment.
LAUNCH = """
import logging, os, signal, sys, time
from smartml.experiment import Experiment, Orchestrator
exp = Experiment("exp")
db = Orchestrator(port=0)
settings = exp.create_run_settings("python", ["-c", {family!r}])
model = exp.create_model("family", settings)
exp.start(db, model, block=False)
while not os.path.exists("exp/family/pids"):
    time.sleep(0.005)
print(os.getpid(), db.pid, open("exp/family/pids").read().replace("\\n", " "), flush=True)
{ending}
"""


@pytest.fixture
def launched(script, family):
    """Start the script; return its process and the pids of all that it started."""

    def launch(ending):
        process = script(LAUNCH.format(family=family, ending=ending))
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return process, [int(word) for word in line.split()][1:]

    return launch


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_all_processes_end_when_the_script_is_killed(launched, alive, eventually, number):
    process, pids = launched("time.sleep(100)")
    assert len(pids) == 5 and all(alive(pid) for pid in pids)
    process.send_signal(number)
    eventually(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise ValueError", "os._exit(0)", "exp.wait()"])
def test_all_processes_end_when_the_script_ends(launched, alive, eventually, ending):
    process, pids = launched(f"signal.alarm(1)\n{ending}" if "wait" in ending else ending)
    process.wait()
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_what_a_script_stops_by_ending_is_said(launched):
    process, pids = launched("")
    _, errors = process.communicate()
    assert f"the script has ended: stopping family (pid {pids[1]})" in errors


def test_the_guardian_ends_too(launched, alive, eventually):
    process, _ = launched("time.sleep(100)")
    guardians = [
        child.pid for child in psutil.Process(process.pid).children() if "guardian.py" in " ".join(child.cmdline())
    ]
    assert len(guardians) == 1
    process.kill()
    eventually(lambda: not alive(guardians[0]))


def test_the_guardian_survives_what_was_meant_for_the_script(launched, alive, eventually):
    process, pids = launched("time.sleep(100)")
    guardian = next(
        child for child in psutil.Process(process.pid).children() if "guardian.py" in " ".join(child.cmdline())
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        guardian.send_signal(number)
    process.kill()
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_killed_guardian_is_replaced_at_the_next_start(launched, alive, eventually):
    process, pids = launched(
        "import psutil\n"
        "for child in psutil.Process().children():\n"
        "    if 'guardian.py' in ' '.join(child.cmdline()): child.kill(); child.wait()\n"
        "db2 = Orchestrator(port=0); db2.start(); print(db2.pid, flush=True)\n"
        "time.sleep(100)"
    )
    pids.append(int(process.stdout.readline()))
    process.kill()
    eventually(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("ending", ["", "os.kill(os.getpid(), 9)"])
def test_the_database_s_temporary_folder_goes_too(script, alive, eventually, ending):
    process = script(
        "import os\nfrom smartml.experiment import Orchestrator\n"
        f"db = Orchestrator(port=0); db.start(); print(db.path, flush=True)\n{ending}"
    )
    folder = process.stdout.readline().strip()
    process.wait()
    eventually(lambda: not os.path.exists(folder))


def test_a_forked_worker_keeps_nothing_alive_and_stops_nothing(launched, alive, eventually):
    # A worker of the script (a data loader, say) holds copies of its file descriptors, and may outlive it.
    process, pids = launched(
        "if os.fork() == 0:\n"
        "    if os.fork() == 0: sys.exit()\n"
        "    print(os.getpid(), flush=True); time.sleep(100); os._exit(0)\n"
        "time.sleep(100)"
    )
    worker = int(process.stdout.readline())
    try:
        assert all(alive(pid) for pid in pids)
        process.kill()
        eventually(lambda: not any(alive(pid) for pid in pids))
        assert alive(worker)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_program_that_ignores_sigterm_is_killed_with_the_script(script, alive, eventually):
    stubborn = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(100)"
    )
    process = script(
        "import time\n"
        "from smartml.experiment import Experiment\n"
        "exp = Experiment('exp')\n"
        f"settings = exp.create_run_settings('python', ['-c', {stubborn!r}])\n"
        "model = exp.create_model('stubborn', settings, grace_s=0.5)\n"
        "exp.start(model, block=False)\n"
        "while not open('exp/stubborn/stubborn.out').read(): time.sleep(0.005)\n"
        "print(open('exp/stubborn/stubborn.out').read(), flush=True)\n"
        "time.sleep(100)\n"
    )
    pid = int(process.stdout.readline())
    process.kill()
    eventually(lambda: not alive(pid))


def test_what_a_finished_program_left_in_the_background_ends_with_the_script(script, alive, eventually):
    leaver = "import subprocess, sys; print(subprocess.Popen(['sleep', '100'], start_new_session=True).pid)"
    process = script(
        "import time\n"
        "from smartml.experiment import Experiment\n"
        "exp = Experiment('exp')\n"
        f"model = exp.create_model('leaver', exp.create_run_settings('python', ['-c', {leaver!r}]))\n"
        "exp.start(model)\n"
        "print(open('exp/leaver/leaver.out').read(), flush=True)\n"
        "time.sleep(100)\n"
    )
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.kill()
    eventually(lambda: not alive(pid))


def test_an_experiment_inside_a_program_of_another_ends_with_it(script, alive, eventually, tmp_path):
    (tmp_path / "inner.py").write_text(
        "import time\n"
        "from smartml.experiment import Orchestrator\n"
        "db = Orchestrator(port=0); db.start(); print(db.pid, db.path); time.sleep(100)\n"
    )
    process = script(
        "import time\n"
        "from smartml.experiment import Experiment\n"
        "exp = Experiment('exp')\n"
        f"model = exp.create_model('inner', exp.create_run_settings('python', [{str(tmp_path / 'inner.py')!r}]))\n"
        "exp.start(model, block=False)\n"
        "while not open('exp/inner/inner.out').read(): time.sleep(0.005)\n"
        "print(open('exp/inner/inner.out').read(), flush=True)\n"
        "time.sleep(100)\n"
    )
    pid, folder = process.stdout.readline().split()
    process.kill()
    eventually(lambda: not alive(int(pid)))
    eventually(lambda: not os.path.exists(folder))


def test_strangers_are_left_alone(launched, alive, eventually):
    stranger = psutil.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
    try:
        process, pids = launched("time.sleep(100)")
        process.kill()
        eventually(lambda: not any(alive(pid) for pid in pids))
        assert alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_the_guardian_needs_nothing_but_psutil(package_folder):
    text = (package_folder / "guardian.py").read_text()
    imported = {line.split()[1] for line in text.splitlines() if line.lstrip().startswith(("import ", "from "))}
    ours = {name for name in imported if name.split(".")[0] not in {*sys.stdlib_module_names, "psutil"}}
    assert ours == set()


def test_a_process_that_got_the_pid_of_an_ended_one_is_found():
    def start(**environment):
        return subprocess.Popen(["sleep", "100"], env={**os.environ, **environment})

    for _ in range(50):
        first = start()
        assert find_processes({"some-1": None}) == []
        first.kill()
        first.wait()
        try:
            # The kernel gives the one after this, unless somebody else is quicker.
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
        except OSError as error:
            pytest.skip(f"pids cannot be chosen here: {error}")
        second = start(SMARTML_JOB="some-1")
        try:
            if second.pid == first.pid:
                assert [process.pid for process in find_processes({"some-1": None})] == [second.pid]
                return
        finally:
            second.kill()
            second.wait()
    pytest.skip("the pid was always taken by somebody else")
