"""`smartml run`, `status`, `stop`, `logs` and `clean`, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from servers import wait_until

WAIT = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('gone', flush=True)"

# A script with one program that ends when told to, one that failed, and one that wrote without a last line feed.
LAUNCH = f"""
import sys
from smartml import Experiment
exp = Experiment("exp")
def model(name, code, **policy):
    return exp.create_model(name, exp.create_run_settings("python", ["-c", code]), **policy)
failing = model("failing", "import sys; print('no more [steam]', file=sys.stderr); sys.exit(3)")
halting = model("halting", "print(*range(20), sep='\\\\n', end='')")
waiting = model("waiting", {WAIT!r})
exp.start(failing, halting, block=False)
exp.wait()
exp.start(waiting, block=False, detach="detach" in sys.argv)
print("ready", sys.argv[1:], flush=True)
if "wait" in sys.argv:
    exp.wait()
"""


@pytest.fixture
def smartml(tmp_path):
    """Run the command in the folder of the test."""

    def run(*words, cwd=tmp_path, **options):
        command = [sys.executable, "-m", "smartml", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, **options)

    yield run
    run("stop", "exp")


@pytest.fixture
def begun(tmp_path):
    """Begin a command; its lines can be read."""
    processes = []

    def begin(*words):
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "smartml", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Tests that run in the background of a shell have Ctrl-C switched off, and would hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def launch_file(tmp_path):
    (tmp_path / "launch.py").write_text(LAUNCH)
    return tmp_path / "launch.py"


@pytest.fixture
def detached(launch_file, smartml):
    """An experiment whose script has ended, with one program that runs on."""
    subprocess.run([sys.executable, launch_file, "detach"], cwd=launch_file.parent, check=True, capture_output=True)
    return launch_file.parent / "exp"


def rows(done):
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


def test_a_script_runs_with_its_options_and_its_failures_are_the_exit_code(smartml, launch_file):
    done = smartml("run", "launch.py", "--an", "option")
    assert done.returncode == 1
    assert done.stdout == "ready ['--an', 'option']\n"
    assert "failing failed: exit code 3" in done.stderr
    shown = {line.split()[0]: line.split()[-2:] for line in done.stderr.splitlines() if " Model " in line}
    # What the script left running ended with it.
    assert shown == {
        "failing": ["Failed", "3"],
        "halting": ["Completed", "0"],
        "waiting": ["Cancelled", "-15"],
    }
    assert done.stderr.splitlines()[-1] == "failed: failing"


@pytest.mark.parametrize(
    ("code", "returncode", "words"),
    [
        ("raise SystemExit(5)", 5, ""),
        ("raise SystemExit('not like this')", 1, "not like this\n"),
        ("raise SystemExit", 0, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("raise KeyboardInterrupt", 130, ""),
        ("import sys; from pathlib import Path; assert Path(sys.path[0]) == Path(__file__).resolve().parent", 0, ""),
    ],
)
def test_a_script_leaves_as_it_does_under_python(smartml, tmp_path, code, returncode, words):
    (tmp_path / "script.py").write_text(code)
    done = smartml("run", "script.py")
    assert (done.returncode, done.stdout) == (returncode, "")
    assert done.stderr.endswith(words)


def test_an_interrupt_ends_the_script_and_all_that_it_started(begun, launch_file, tmp_path):
    process = begun("run", "launch.py", "wait")
    assert process.stdout.readline().startswith("ready")
    (pid,) = [child.pid for child in psutil.Process(process.pid).children(recursive=True) if WAIT in child.cmdline()]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert not psutil.pid_exists(pid)


def test_status_tells_of_each_run_from_any_folder(smartml, detached):
    for where, words in ((detached.parent, ()), (detached, ()), ("/", (detached,)), (detached.parent, ("exp",))):
        found = rows(smartml("status", *words, "--json", cwd=where))
        assert {name: (row["status"], row["returncode"]) for name, row in found.items()} == {
            "failing": ("Failed", 3),
            "halting": ("Completed", 0),
            "waiting": ("Running", None),
        }
    assert list(rows(smartml("status", "waiting", "--json"))) == ["waiting"]
    shown = smartml("status").stdout
    assert "its script does not run here" in shown.splitlines()[0] and "Running" in shown


def test_what_died_with_its_script_is_not_shown_as_running(smartml, begun, launch_file):
    process = begun("run", "launch.py", "wait")
    process.stdout.readline()
    assert rows(smartml("status", "--json"))["waiting"]["status"] == "Running"
    process.kill()
    process.wait()
    wait_until(lambda: rows(smartml("status", "--json"))["waiting"]["status"] == "Cancelled")


def test_one_or_all_are_stopped_and_stopping_twice_is_no_error(smartml, detached):
    assert "waiting has been stopped" in smartml("stop", "exp", "waiting").stdout
    assert rows(smartml("status", "--json"))["waiting"]["status"] == "Cancelled"
    for words in ((), ("waiting",)):
        again = smartml("stop", "exp", *words)
        assert again.returncode == 0 and "nothing of it runs" in again.stdout


def test_a_script_that_runs_learns_that_its_program_was_stopped(smartml, begun, launch_file):
    process = begun("run", "launch.py", "wait")
    process.stdout.readline()
    told = smartml("stop").stdout
    assert "waiting has been stopped" in told and "its script still runs" in told
    _, errors = process.communicate(timeout=30)
    assert [line.split()[-2] for line in errors.splitlines() if line.startswith(" waiting")] == ["Cancelled"]


def test_logs_are_the_ends_of_all_outputs_behind_the_names(smartml, detached):
    shown = smartml("logs", "--lines", "2").stdout.splitlines()
    assert shown == ["failing ! no more [steam]", "halting | 17", "halting | 18", "halting | 19"]
    as_json = [json.loads(line) for line in smartml("logs", "-n", "0", "exp", "halting", "--json").stdout.splitlines()]
    assert as_json == [{"name": "halting", "is_error": False, "text": "19"}]


def test_logs_are_followed_until_nothing_runs(begun, detached):
    process = begun("logs", "-f", "exp", "waiting")
    (detached / "waiting/go").touch()
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed) == (0, "waiting | gone\n"), errors


def test_following_ends_with_an_interrupt_and_harms_nothing(smartml, begun, detached):
    process = begun("logs", "-f", "-n", "1")
    assert process.stdout.readline() == "failing ! no more [steam]\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert rows(smartml("status", "--json"))["waiting"]["status"] == "Running"


def test_clean_lists_asks_and_leaves_what_runs(smartml, detached):
    (detached / "failing/result").write_text("x" * 1000)
    refused = smartml("clean", input="n\n")
    assert refused.returncode == 1
    assert f"{detached}/failing/  (failing: 3 files, 1.0 kB)" in refused.stdout.splitlines()
    assert "waiting" not in refused.stdout and (detached / "failing/result").exists()
    done = smartml("clean", input="y\n")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(detached)) == [".smartml", "waiting"]
    smartml("stop")
    assert smartml("clean", "exp", "--yes").returncode == 0
    assert not detached.exists()


def test_clean_leaves_files_that_no_run_made(smartml, tmp_path):
    (tmp_path / "launch.py").write_text(
        "from smartml import Experiment\n"
        "exp = Experiment('exp', '.')\n"
        "exp.start(exp.create_model('model', exp.create_run_settings('true'), path='.'))\n"
    )
    assert smartml("run", "launch.py").returncode == 0
    listed = {Path(one["path"]).name: one["owner"] for one in json.loads(smartml("clean", "--json").stdout)}
    assert listed == {
        "model.out": "model",
        "model.err": "model",
        ".smartml": "the journal",
    }
    assert smartml("clean", "--yes").returncode == 0
    assert os.listdir(tmp_path) == ["launch.py"]


def test_clean_removes_nothing_while_the_script_runs(smartml, begun, launch_file):
    begun("run", "launch.py", "wait").stdout.readline()
    done = smartml("clean", "--yes")
    assert done.returncode == 1
    assert "nothing is removed before it has ended" in done.stderr


def test_clean_leaves_what_another_machine_may_run(smartml, detached):
    journal = detached / ".smartml/journal.jsonl"
    smartml("stop")
    journal.write_text(journal.read_text().replace(f'"host": "{os.uname().nodename}"', '"host": "elsewhere"'))
    done = smartml("clean", "--yes")
    assert done.returncode == 1
    assert "was started on elsewhere: whether it runs is known only there" in done.stderr
    assert (detached / "waiting").is_dir()


def test_jobs_of_a_batch_system_are_seen_stopped_and_cleaned_up(smartml, slurm, tmp_path):
    (tmp_path / "launch.py").write_text(
        "from smartml import Experiment\n"
        "exp = Experiment('exp', launcher='slurm')\n"
        "settings = exp.create_run_settings('bash', ['-c', 'echo here; sleep 100'], run_command=None)\n"
        "exp.start(exp.create_model('job', settings, batch_settings=exp.create_batch_settings()), block=False)\n"
    )
    assert smartml("run", "launch.py").returncode == 0
    wait_until(lambda: rows(smartml("status", "--json"))["job"]["status"] == "Running")
    assert rows(smartml("status", "--json"))["job"]["id"] == slurm.jobs()[0]
    wait_until(lambda: smartml("logs").stdout == "job | here\n")
    assert json.loads(smartml("clean", "--json").stdout) == []
    assert "job has been stopped" in smartml("stop").stdout
    assert slurm.jobs() == []
    assert smartml("clean", "--yes").returncode == 0
    assert os.listdir(tmp_path) == ["launch.py"]


@pytest.mark.parametrize("command", ["status", "stop", "logs", "clean"])
def test_what_is_not_there_is_one_sentence(smartml, tmp_path, command):
    done = smartml(command)
    assert done.returncode == 1
    assert done.stderr == f"Error: no experiment was started in {tmp_path}, nor in a folder of it: name its folder\n"
    for name in ("one", "two"):
        (tmp_path / name / ".smartml").mkdir(parents=True)
        (tmp_path / name / ".smartml/journal.jsonl").write_text("garbage\n")
    assert "has several experiments: name the folder of one: one, two" in smartml(command).stderr
    garbage = smartml(command, "one")
    assert garbage.returncode == 1
    assert "does not name an experiment" in garbage.stderr and "Traceback" not in garbage.stderr


def test_a_wrong_name_lists_the_right_ones(smartml, detached):
    for command in ("status", "stop", "logs"):
        done = smartml(command, "exp", "wating")
        assert done.returncode == 1
        assert "nothing named 'wating'; it has: 'failing', 'halting', 'waiting'" in done.stderr


@pytest.mark.parametrize(
    ("words", "index", "expected"),
    [("smartml stop exp ", 3, ["failing", "halting", "waiting"]), ("smartml logs w", 2, ["waiting"])],
)
def test_names_are_completed(detached, words, index, expected):
    typed = {"_SMARTML_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    command = Path(sys.executable).with_name("smartml")
    done = subprocess.run([command], env={**os.environ, **typed}, capture_output=True, text=True, cwd=detached.parent)
    assert [line.partition(",")[2] for line in done.stdout.splitlines() if line.startswith("plain")] == expected
