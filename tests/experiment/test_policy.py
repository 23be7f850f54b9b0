"""How programs are looked after: restarts, time limits, grace times."""

import os
import time

import pytest

from smartml import Client
from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.policy import Policy
from smartml.store.entities import read_entities

# Fails until it has been started so many times.
FAILS = """
import os, sys
with open("starts", "a") as file: file.write("x")
print("try", os.path.getsize("starts"))
sys.exit(os.path.getsize("starts") < int(sys.argv[1]))
"""

SLEEP = "import time; time.sleep(100)"

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid())
time.sleep(100)
"""


@pytest.fixture
def failing(exp):
    """Describe a program that succeeds at its n-th start."""

    def describe(succeeds_at, name="failing", **policy):
        settings = exp.create_run_settings("python", ["-c", FAILS, str(succeeds_at)])
        return exp.create_model(name, settings, **{"restart_delay_s": 0.01, **policy})

    return describe


def text_of(file):
    with open(file) as stream:
        return stream.read()


def rows_of(exp):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in exp.summary().splitlines()][2:]


def test_a_program_that_fails_is_started_again_until_it_succeeds(exp, failing, caplog):
    model = failing(3, restarts=5)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    assert text_of(f"{model.path}/starts") == "xxx"
    assert "failing failed: exit code 1 after" in caplog.text
    assert "restart 1 of 5 in 0.01 s" in caplog.text


def test_the_output_of_every_try_is_kept_and_each_has_its_line_in_the_summary(exp, failing):
    model = failing(3, restarts=5)
    exp.start(model)
    outputs = [text_of(f"{model.path}/failing{number}.out") for number in (".1", ".2", "")]
    assert outputs == ["try 1\n", "try 2\n", "try 3\n"]
    assert [(row[1], row[4], row[6], row[7]) for row in rows_of(exp)] == [
        ("failing", "1", "Failed", "1"),
        ("failing", "2", "Failed", "1"),
        ("failing", "3", "Completed", "0"),
    ]
    exp.start(model)
    assert rows_of(exp)[3][4] == "4"


def test_restarts_come_to_an_end(exp, failing, caplog):
    model = failing(100, restarts=2)
    exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert text_of(f"{model.path}/starts") == "xxx"
    assert caplog.text.count("failing failed") == 3


def test_without_a_policy_nothing_is_started_again(exp, failing):
    model = failing(2)
    exp.start(model)
    assert text_of(f"{model.path}/starts") == "x"


def test_each_member_of_an_ensemble_has_its_own_restarts(exp):
    settings = exp.create_run_settings("python", ["-c", FAILS, "2"])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=2, restarts=1, restart_delay_s=0)
    exp.start(ensemble)
    assert exp.get_status(ensemble) == ["Completed", "Completed"]


def test_delays_double_up_to_a_minute():
    policy = Policy(restarts=10, restart_delay_s=4)
    assert [policy.delay_s(number) for number in (1, 2, 3, 4, 5, 6, 1000)] == [4, 8, 16, 32, 60, 60, 60]
    assert Policy(restart_delay_s=0).delay_s(5) == 0
    assert Policy(restart_delay_s=100).delay_s(5) == 100


def test_a_try_that_ran_long_enough_begins_the_count_anew(exp, failing):
    # With every try long enough, one restart is always left.
    model = failing(4, restarts=1, restart_reset_s=0)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    assert text_of(f"{model.path}/starts") == "xxxx"


def test_a_program_between_two_tries_is_new_for_all_and_has_not_ended(exp, failing, eventually):
    model = failing(100, restarts=1, restart_delay_s=100)
    db = exp.create_database(port=0)
    exp.start(db, model, block=False)
    with Client(address=db.address) as client:
        eventually(lambda: read_entities(client.database)["failing"].status == "New")
        assert not read_entities(client.database)["failing"].has_ended
        eventually(lambda: exp.get_status(model) == ["New"])
        assert not exp.finished(model)
        exp.stop(model)
        assert exp.get_status(model) == ["Cancelled"]
        assert read_entities(client.database)["failing"].status == "Cancelled"
    assert text_of(f"{model.path}/starts") == "x"
    # It may be started again.
    exp.start(model, block=False)
    exp.stop(model)


def test_what_is_stopped_is_not_started_again(exp, program):
    model = exp.create_model("model", exp.create_run_settings("python", ["-c", SLEEP]), restarts=5, restart_delay_s=0)
    exp.start(model, block=False)
    exp.stop(model)
    assert exp.get_status(model) == ["Cancelled"]
    assert len(rows_of(exp)) == 1


def test_what_a_try_left_behind_is_gone_before_the_next(exp):
    # A child of the first try, and whether it lives when the second begins.
    code = (
        "import os, subprocess, sys, psutil\n"
        "if os.path.exists('child'):\n"
        "    pids = [one.pid for one in psutil.process_iter() if one.status() != psutil.STATUS_ZOMBIE]\n"
        "    print(int(open('child').read()) in pids); sys.exit()\n"
        "child = subprocess.Popen(['sleep', '100'], start_new_session=True)\n"
        "open('child', 'w').write(str(child.pid)); os._exit(1)"
    )
    settings = exp.create_run_settings("python", ["-c", code])
    model = exp.create_model("model", settings, restarts=1, restart_delay_s=0)
    exp.start(model)
    assert text_of(f"{model.path}/model.out") == "False\n"


def test_a_restart_that_cannot_start_is_a_failure(exp, tmp_path, caplog):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nrm $0; exit 1")
    program.chmod(0o755)
    model = exp.create_model("model", exp.create_run_settings(str(program)), restarts=3, restart_delay_s=0)
    exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert "'model' cannot be started" in caplog.text


def test_the_script_s_end_ends_restarts(script, tmp_path, eventually):
    process = script(
        "import time\n"
        "from smartml.experiment import Experiment\n"
        "exp = Experiment('exp')\n"
        "settings = exp.create_run_settings('sh', ['-c', 'echo x >> starts; exit 1'])\n"
        "model = exp.create_model('model', settings, restarts=1000, restart_delay_s=0)\n"
        "exp.start(model, block=False)\n"
        "print(flush=True)\n"
        "while len(exp.summary().splitlines()) < 5: time.sleep(0.01)\n"
    )
    process.communicate()
    assert process.returncode == 0
    size = os.path.getsize(tmp_path / "exp/model/starts")
    time.sleep(0.2)
    assert os.path.getsize(tmp_path / "exp/model/starts") == size


def test_a_program_beyond_its_time_limit_is_ended_and_has_failed(
    exp, caplog, family, read_eventually, eventually, alive
):
    model = exp.create_model("slow", exp.create_run_settings("python", ["-c", family]), time_limit_s=1.5)
    exp.start(model, block=False)
    pids = [int(pid) for pid in read_eventually(f"{model.path}/pids", 4)]
    exp.wait(model)
    assert exp.get_status(model) == ["Failed"]
    assert "slow failed: time limit of 1.5 s exceeded after" in caplog.text
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_time_limit_is_each_try_s(exp):
    model = exp.create_model(
        "slow",
        exp.create_run_settings("python", ["-c", SLEEP]),
        time_limit_s=0.1,
        restarts=2,
        restart_delay_s=0,
    )
    exp.start(model)
    assert [row[6] for row in rows_of(exp)] == ["Failed"] * 3


def test_many_time_limits_at_once_are_kept(exp):
    ensemble = exp.create_ensemble(
        "ens", run_settings=exp.create_run_settings("sleep", "100"), replicas=20, time_limit_s=0.2
    )
    exp.start(ensemble)
    assert set(exp.get_status(ensemble)) == {"Failed"}


def test_a_program_that_ends_in_time_is_not_bothered(exp):
    model = exp.create_model("quick", exp.create_run_settings("python", ["-c", "pass"]), time_limit_s=60)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]


def test_each_program_has_its_own_grace_time(exp, read_eventually, alive):
    settings = exp.create_run_settings("python", ["-c", STUBBORN])
    hasty = exp.create_model("hasty", settings, grace_s=0.1)
    patient = exp.create_model("patient", settings, grace_s=100)
    exp.start(hasty, patient, block=False)
    pids = [int(read_eventually(f"{model.path}/{model.name}.out")[0]) for model in (hasty, patient)]
    exp.stop(hasty)
    assert [alive(pid) for pid in pids] == [False, True]
    # What the call says is for all.
    exp.stop(patient, grace_s=0.1)
    assert not alive(pids[1])


def test_grace_times_are_kept_when_all_are_stopped_together(exp, read_eventually):
    tidy = (
        "import signal, sys, time\n"
        "def end(*_): time.sleep(1); print('tidied'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('ready'); time.sleep(100)"
    )
    hasty = exp.create_model("hasty", exp.create_run_settings("python", ["-c", tidy]), grace_s=0.1)
    patient = exp.create_model("patient", exp.create_run_settings("python", ["-c", tidy]), grace_s=100)
    exp.start(hasty, patient, block=False)
    for model in (hasty, patient):
        read_eventually(f"{model.path}/{model.name}.out")
    exp.stop()
    assert [text_of(f"{model.path}/{model.name}.out") for model in (hasty, patient)] == ["ready\n", "ready\ntidied\n"]


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ({"restarts": -1}, ArgumentValueError),
        ({"restarts": 1.5}, ArgumentValueError),
        ({"restart_delay_s": "1"}, ArgumentTypeError),
        ({"restart_delay_s": float("nan")}, ArgumentValueError),
        ({"time_limit_s": 0}, ArgumentValueError),
        ({"grace_s": float("inf")}, ArgumentValueError),
        ({"detach": 1}, ArgumentTypeError),
        ({"restart": 3}, ArgumentTypeError),
    ],
)
def test_policies_that_cannot_be_are_refused(exp, policy, error):
    settings = exp.create_run_settings("true")
    with pytest.raises(error, match=f"{next(iter(policy))}"):
        exp.create_model("model", settings, **policy)
    with pytest.raises(error):
        exp.create_ensemble("ens", run_settings=settings, replicas=2, **policy)


def test_an_unknown_option_is_answered_by_the_known_ones(exp):
    with pytest.raises(ArgumentTypeError, match="create_model takes no retries; further ones are: restarts, "):
        exp.create_model("model", exp.create_run_settings("true"), retries=3)
