"""What outlives its script, and is found again by the journal."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from smartml.errors import AlreadyStartedError, LaunchError, NotStartedError
from smartml.experiment import Experiment, Orchestrator

# A script that starts, detached: a database, a program that ends when told to, by the code it is told, and one more.
LAUNCH = """
import os, sys, time
from smartml.experiment import Experiment
exp = Experiment("exp")
code = "import os, sys, time\\nwhile not os.path.exists('go'): time.sleep(0.005)\\nsys.exit(int(open('go').read()))"
model = exp.create_model("model", exp.create_run_settings("python", ["-c", code]), enable_key_prefixing=True)
other = exp.create_model("other", exp.create_run_settings("sleep", "100"))
{act}
print(os.getpid(), flush=True)
{ending}
"""

START = "exp.start(exp.create_database(port=0), model, other, block=False, detach=True)"


def go(folder, code=0):
    draft = folder / "draft"
    draft.write_text(str(code))
    draft.rename(folder / "go")


def rows_of(exp):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in exp.summary().splitlines()][2:]
    return {row[1]: (row[2], int(row[3]), row[6], row[7]) for row in rows}


@pytest.fixture
def attach(tmp_path):
    """Take up the experiment; all of it is stopped in the end."""
    found = []

    def take_up():
        found.append(Experiment.attach(tmp_path / "exp"))
        return found[-1]

    yield take_up
    if not found:
        take_up()
    for exp in found:
        exp.stop(grace_s=1)


@pytest.fixture
def launched(script, attach):
    """Run the script to its end, in whatever way."""

    def launch(act=START, ending=""):
        process = script(LAUNCH.format(act=act, ending=ending))
        line = process.stdout.readline()
        assert line, process.stderr.read()
        if "sleep" in ending:
            process.kill()
        _, errors = process.communicate()
        assert not errors, errors
        return process

    return launch


@pytest.mark.parametrize("ending", ["", "time.sleep(100)", "os._exit(3)"])
def test_all_that_is_detached_outlives_its_script_and_is_found_again(launched, attach, tmp_path, eventually, ending):
    launched(ending=ending)
    exp = attach()
    assert exp.name == "exp"
    assert exp.get_status("model", "other", "orchestrator") == ["Running", "Running", "Running"]
    rows = rows_of(exp)
    assert [rows[name][0] for name in ("orchestrator", "model", "other")] == ["Orchestrator", "Model", "Model"]
    assert psutil.Process(rows["other"][1]).cmdline()[-1] == "100"
    assert not exp.wait("model", timeout_s=0.05)
    go(tmp_path / "exp/model", 5)
    assert exp.wait("model", timeout_s=30)
    assert rows_of(exp)["model"][2:] == ("Failed", "5")
    exp.stop("other")
    assert rows_of(exp)["other"][2:] == ("Cancelled", "-15")
    exp.stop()
    assert rows_of(exp)["orchestrator"][2] == "Cancelled"


def test_what_has_ended_meanwhile_is_known_with_its_exit_code(launched, attach, tmp_path, caplog):
    launched()
    first = attach()
    pid = rows_of(first)["model"][1]
    go(tmp_path / "exp/model", 7)
    first.wait("model")
    exp = attach()
    exp.wait("model")
    assert rows_of(exp)["model"] == ("Model", pid, "Failed", "7")
    # The first that was there has told it; for the second it is an old story.
    assert caplog.text.count("model failed: exit code 7") == 1
    assert exp.get_status("other") == ["Running"]


def test_a_detached_program_that_is_killed_is_known_with_its_signal(launched, attach):
    launched()
    exp = attach()
    os.kill(rows_of(exp)["other"][1], signal.SIGKILL)
    assert exp.wait("other", timeout_s=30)
    assert rows_of(exp)["other"][2:] == ("Failed", "-9")


def test_an_exit_code_that_nobody_noted_is_unknown_and_counts_as_a_failure(launched, attach):
    launched()
    exp = attach()
    pid = rows_of(exp)["other"][1]
    recorder = psutil.Process(pid).parent()
    assert "recorder.py" in " ".join(recorder.cmdline())
    recorder.kill()
    os.kill(pid, signal.SIGKILL)
    assert exp.wait("other", timeout_s=30)
    assert rows_of(exp)["other"][2:] == ("Failed", "None")


def test_programs_started_after_an_attach_find_the_database_again(launched, attach):
    launched()
    exp = attach()
    model = exp.create_model("late", exp.create_run_settings("python", ["-c", "import os; print(os.environ['SSDB'])"]))
    exp.start(model, block=False)
    exp.wait(model)
    with open(f"{model.path}/late.out") as file:
        assert file.read() == Orchestrator.attach(f"{exp.exp_path}/orchestrator").address + "\n"


def test_a_script_that_runs_again_describes_its_models_again_and_finds_them_running(launched, attach):
    launched()
    exp = attach()
    model = exp.create_model("model", exp.create_run_settings("true"))
    assert exp.get_status(model) == ["Running"]
    with pytest.raises(AlreadyStartedError, match="'model' runs already"):
        exp.start(model)
    exp.stop(model)
    exp.start(model, block=False)
    exp.wait(model)
    assert exp.get_status(model) == ["Completed"]


def test_what_was_attached_outlives_the_second_script_too(launched, script, attach, alive):
    launched()
    process = script(
        "from smartml.experiment import Experiment\nexp = Experiment.attach('exp')\nprint(*exp.get_status('other'))\n"
    )
    out, errors = process.communicate()
    assert (out, errors) == ("Running\n", "")
    assert attach().get_status("model", "other") == ["Running", "Running"]


def test_only_what_was_asked_to_be_detached_is(launched, attach, eventually, alive):
    launched("model.policy = type(model.policy)(detach=True)\nexp.start(model, other, block=False)", "time.sleep(100)")
    exp = attach()
    assert exp.wait("other", timeout_s=30)
    assert exp.get_status("model", "other") == ["Running", "Cancelled"]


def test_a_detached_program_s_children_are_stopped_with_it(exp, family, read_eventually, alive):
    model = exp.create_model("family", exp.create_run_settings("python", ["-c", family]), detach=True)
    exp.start(model, block=False)
    pids = [int(pid) for pid in read_eventually(f"{model.path}/pids", 4)]
    exp.stop(model)
    assert not any(alive(pid) for pid in pids)
    assert exp.get_status(model) == ["Cancelled"]


def test_a_detached_program_is_watched_by_its_own_script_as_any_other(exp, caplog):
    settings = exp.create_run_settings("python", ["-c", "print('out'); raise SystemExit(3)"])
    model = exp.create_model("model", settings, detach=True, restarts=1, restart_delay_s=0)
    exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert caplog.text.count("model failed: exit code 3") == 2
    with open(f"{model.path}/model.1.out") as file:
        assert file.read() == "out\n"


def test_a_detached_program_that_cannot_start_is_an_error(exp, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("neither script nor binary")
    broken.chmod(0o755)
    model = exp.create_model("bad", exp.create_run_settings(str(broken)), detach=True)
    with pytest.raises(LaunchError, match=r"'bad' cannot be started: .*Exec format error"):
        exp.start(model)


def test_a_detached_program_inherits_nothing_but_its_output(exp):
    code = "import os; print(sorted(os.listdir('/proc/self/fd')), os.getpid() == os.getsid(0))"
    model = exp.create_model("model", exp.create_run_settings("python", ["-c", code]), detach=True)
    exp.start(model)
    with open(f"{model.path}/model.out") as file:
        # The last is that of the listing itself.
        assert file.read() == "['0', '1', '2', '3'] True\n"


def test_ctrl_c_leaves_what_is_detached(script, attach, eventually, tmp_path):
    act = "exp.start(other, block=False)\nprint(flush=True)\nexp.start(model, detach=True)"
    process = script(LAUNCH.format(act=act, ending=""))
    process.stdout.readline()
    eventually(lambda: '"name": "model"' in (tmp_path / "exp/.smartml/journal.jsonl").read_text())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert "interrupted: stopping other (pid" in errors and "model" not in errors.split("stopping")[1].split("\n")[0]
    assert attach().get_status("model", "other") == ["Running", "Cancelled"]


def test_another_process_may_look_at_and_stop_what_a_living_script_runs(script, attach):
    process = script(LAUNCH.format(act="exp.start(model, other, block=False)", ending="exp.wait(); time.sleep(0.2)"))
    process.stdout.readline()
    exp = attach()
    assert exp.get_status("model", "other") == ["Running", "Running"]
    exp.stop()
    _, errors = process.communicate()
    # For the script, too, they were stopped.
    assert errors == ""
    assert attach().get_status("model", "other") == ["Cancelled", "Cancelled"]


def test_without_a_journal_there_is_nothing_to_attach(tmp_path, exp):
    with pytest.raises(NotStartedError, match="no experiment was started in"):
        Experiment.attach(tmp_path / "none")
    exp.create_model("model", exp.create_run_settings("true"))
    with pytest.raises(NotStartedError):
        Experiment.attach(exp.exp_path)
    exp.start(exp.create_model("model", exp.create_run_settings("true")))
    with pytest.raises(NotStartedError, match="has started nothing named 'mdoel'; it has: 'model'"):
        Experiment.attach(exp.exp_path).get_status("mdoel")


@pytest.mark.parametrize(
    "damage",
    [b"\x00\xff garbage\n", b'{"event": "start"}\n', b"[1]\n", b'{"event": "start", "id": "x", "name": 5}\n', b'{"eve'],
)
def test_damaged_lines_of_a_journal_do_not_hide_the_others(exp, program, caplog, damage):
    exp.start(program("pass", "one"), program("raise SystemExit(4)", "other"))
    journal = f"{exp.exp_path}/.smartml/journal.jsonl"
    with open(journal, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    with open(journal, "wb") as file:
        file.write(b"".join([*lines[:2], damage, *lines[2:]] if damage.endswith(b"\n") else [*lines, damage]))
    found = Experiment.attach(exp.exp_path)
    found.wait()
    assert found.get_status("one", "other") == ["Completed", "Failed"]
    assert ("journal.jsonl" in caplog.text) == damage.endswith(b"\n")


def test_a_program_of_another_machine_is_not_taken_for_one_that_has_ended(exp, program, caplog):
    exp.start(program("pass", "one"), program("pass", "other"))
    journal = Path(exp.exp_path, ".smartml/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    other = next(event["id"] for event in events if event.get("name") == "other")
    for event in events:
        if event["event"] == "start":
            event["host"] = "elsewhere"
    events = [event for event in events if not (event["event"] == "end" and event["id"] == other)]
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    found = Experiment.attach(exp.exp_path)
    found.wait()
    assert list(rows_of(found)) == ["one"]
    assert "was started on elsewhere: whether it runs is known only there" in caplog.text


def test_a_file_that_is_no_journal_is_named(exp, program):
    exp.start(program("pass"))
    with open(f"{exp.exp_path}/.smartml/journal.jsonl", "wb") as file:
        file.write(os.urandom(1000))
    with pytest.raises(NotStartedError, match=r"journal.jsonl does not name an experiment"):
        Experiment.attach(exp.exp_path)


def test_the_journal_is_json_without_values_of_the_environment(exp, program):
    exp.start(program("pass", "program", SECRET="hunter2"))
    with open(f"{exp.exp_path}/.smartml/journal.jsonl") as file:
        text = file.read()
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["event"] for event in events] == ["experiment", "start", "end"]
    assert (events[1]["name"], events[1]["folder"], events[2]["returncode"]) == (
        "program",
        exp.exp_path + "/program",
        0,
    )
    assert "hunter2" not in text


def test_a_journal_that_cannot_be_written_harms_nothing(exp, program, caplog):
    os.makedirs(exp.exp_path)
    with open(f"{exp.exp_path}/.smartml", "w"):
        pass
    model = program("pass")
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    assert "does not learn of a start" in caplog.text


def test_a_database_can_be_taken_up_by_its_checkpoint(exp, program, tmp_path):
    with Orchestrator(tmp_path / "db", port=0) as db:
        found = exp.reconnect_orchestrator(db.checkpoint_file)
        assert found.get_address() == db.get_address()
        model = program("import os; print(os.environ['SSDB'])")
        exp.start(model)
        with open(f"{model.path}/program.out") as file:
            assert file.read() == db.address + "\n"
        assert exp.get_status(found) == ["Running"]
        exp.stop(found)
        assert not db.is_active()
    with pytest.raises(NotStartedError):
        exp.reconnect_orchestrator(tmp_path / "nowhere")


def test_the_recorder_needs_nothing_but_the_standard_library(package_folder):
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", package_folder / "recorder.py"],
        capture_output=True,
        text=True,
    )
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert imported - {"imported package"} <= set(sys.stdlib_module_names)


# Programs that start later: one after the model, the other after that and one more.
WAIT = """
late = exp.create_model("late", exp.create_run_settings("sleep", "100"))
later = exp.create_model("later", exp.create_run_settings("sleep", "100"))
late.start_after(model); later.start_after(late, "started"); later.start_after(other, "ended")
exp.start(model, other, late, later, block=False)
"""


def reasons_of(exp):
    return {row["name"]: row["reason"] for row in exp.rows()}


def test_what_waits_for_others_is_seen_and_its_start_is_noticed(script, attach, tmp_path, eventually):
    process = script(LAUNCH.format(act=WAIT, ending="exp.wait()"))
    process.stdout.readline()
    exp = attach()
    assert exp.get_status("model", "late", "later") == ["Running", "New", "New"]
    assert reasons_of(exp)["late"] == "waits for model to complete"
    assert not exp.wait("late", timeout_s=0.01)
    go(tmp_path / "exp" / "model")
    eventually(lambda: exp.get_status("late") == ["Running"])
    assert attach().get_status("model", "late", "later") == ["Completed", "Running", "New"]
    exp.stop("late")
    assert exp.get_status("late", "later") == ["Cancelled", "New"]


def test_what_waits_for_others_ends_with_its_script(script, attach, tmp_path, eventually, alive):
    process = script(LAUNCH.format(act=WAIT, ending="time.sleep(100)"))
    pid = int(process.stdout.readline())
    before = attach()
    process.kill()
    process.communicate()
    eventually(lambda: not alive(pid))
    for exp in (before, attach()):
        assert exp.wait("late", "later", timeout_s=20)
        assert exp.get_status("late", "later") == ["Cancelled", "Cancelled"]
        assert reasons_of(exp)["late"] == "its script ended while it waited for model to complete"
    # A program of that name that is started later is the latest.
    again = attach()
    settings = again.create_run_settings("true")
    again.start(again.create_model("late", settings))
    assert attach().get_status("late") == ["Completed"]


def test_another_process_may_stop_what_waits(script, attach, tmp_path, eventually):
    process = script(LAUNCH.format(act=WAIT, ending="exp.wait(late); print(*exp.get_status(late), flush=True)"))
    process.stdout.readline()
    exp = attach()
    exp.stop("late")
    assert exp.get_status("late", "model") == ["Cancelled", "Running"]
    go(tmp_path / "exp" / "model")
    assert process.stdout.readline() == "Cancelled\n"
    assert not (tmp_path / "exp" / "late").exists()
    assert attach().get_status("late") == ["Cancelled"]


def test_what_cannot_start_any_more_is_seen_with_the_reason(script, attach, tmp_path, eventually):
    process = script(LAUNCH.format(act=WAIT, ending="exp.wait(late); print(flush=True); time.sleep(100)"))
    process.stdout.readline()
    exp = attach()
    go(tmp_path / "exp" / "model", code=3)
    process.stdout.readline()
    assert exp.wait("late", timeout_s=20)
    for one in (exp, attach()):
        assert one.get_status("late") == ["Cancelled"]
        assert "model" in reasons_of(one)["late"]


def test_the_journal_tells_of_each_of_many_programs_its_start_before_its_end(exp):
    exp.start(exp.create_ensemble("many", run_settings=exp.create_run_settings("true"), replicas=70))
    with open(f"{exp.exp_path}/.smartml/journal.jsonl") as file:
        events = [json.loads(line) for line in file]
    started = [event["id"] for event in events if event["event"] == "start"]
    ended = [event["id"] for event in events if event["event"] == "end"]
    assert len(set(started)) == 70 and sorted(started) == sorted(ended)
    order = [(event["event"], event["id"]) for event in events if event["event"] in ("start", "end")]
    assert all(order.index(("start", id)) < order.index(("end", id)) for id in started)
    assert set(Experiment.attach(exp.exp_path).get_status("many_0", "many_69")) == {"Completed"}
