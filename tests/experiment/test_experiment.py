"""Programs beside a database: started, watched, reported, stopped."""

import json
import os
import signal
import time

import pytest

from smartml.errors import (
    AlreadyStartedError,
    ArgumentTypeError,
    ArgumentValueError,
    DuplicateNameError,
    LaunchError,
    NotStartedError,
    PathExistsError,
    PathNotFoundError,
    PortTakenError,
    ProgramNotFoundError,
    UnsupportedError,
)
from smartml.experiment import Experiment, Orchestrator, SbatchSettings, Status

SLEEP = "import time; time.sleep(100)"

# Runs until there is a file `go` in its folder.
UNTIL_GO = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.005)"


def out_of(model):
    with open(f"{model.path}/{model.name}.out") as file:
        return file.read()


def test_a_program_runs_in_its_folder_and_leaves_its_output_there(exp, program):
    model = program("import os, sys; print(os.getcwd()); print('oops', file=sys.stderr)")
    exp.start(model)
    assert model.path == os.path.join(exp.exp_path, "program")
    assert out_of(model) == model.path + "\n"
    with open(f"{model.path}/program.err") as file:
        assert file.read() == "oops\n"
    assert exp.get_status(model) == ["Completed"]
    assert exp.finished(model)


def test_the_folder_of_the_experiment_is_made_at_the_first_start(exp, program, tmp_path):
    assert exp.exp_path == str(tmp_path / "exp")
    assert not os.path.exists(exp.exp_path)
    exp.start(program("pass"))
    assert os.path.isdir(exp.exp_path)


def test_a_given_folder_must_exist(tmp_path):
    assert Experiment("exp", tmp_path).exp_path == str(tmp_path)
    with pytest.raises(PathNotFoundError, match="make it first"):
        Experiment("exp", str(tmp_path / "none"))
    with pytest.raises(ArgumentTypeError):
        Experiment("exp", 5)


def test_launchers_are_known_by_their_names(tmp_path):
    assert Experiment("exp", launcher="Local").launcher == "local"
    assert Experiment("exp", tmp_path, launcher="slurm").launcher == "slurm"
    with pytest.raises(UnsupportedError, match="launcher 'cobalt' is not available; there are: 'local', 'slurm'"):
        Experiment("exp", launcher="cobalt")


def test_a_run_command_that_is_not_there_is_an_error_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    exp = Experiment("exp", tmp_path, launcher="slurm")
    model = exp.create_model("model", exp.create_run_settings("python", run_command="srun"))
    with pytest.raises(ProgramNotFoundError, match="'model' cannot start: srun is not there"):
        exp.start(model)


def test_odd_folders_are_no_trouble(odd_path):
    exp = Experiment("o'dd \"ü", odd_path)
    db = exp.create_database(port=0)
    script = odd_path / "p r'o\"g.py"
    script.write_text("import os; print(os.getcwd(), os.environ['SSDB'])")
    model = exp.create_model("p 'q'", exp.create_run_settings("python", [script.name]))
    model.attach_generator_files(to_copy=script)
    exp.start(db, model)
    assert out_of(model) == f"{odd_path}/p 'q' {db.address}\n"
    exp.stop(db)
    assert exp.get_status(model, db) == ["Completed", "Cancelled"]


def test_start_returns_at_the_end_of_the_program(exp, program):
    model = program("import time; print(time.time()); time.sleep(0.2); print(time.time())")
    exp.start(model)
    returned = time.time()
    ended = float(out_of(model).split()[1])
    # SmartSim takes 5 s more; the benchmark measures what this takes.
    assert returned - ended < 2


def test_without_block_start_returns_at_once_and_wait_waits(exp, program):
    model = program(UNTIL_GO)
    exp.start(model, block=False)
    assert exp.get_status(model) == ["Running"]
    assert not exp.finished(model)
    assert not exp.wait(model, timeout_s=0.01)
    open(f"{model.path}/go", "w").close()
    assert exp.wait(model)
    assert exp.get_status(model) == ["Completed"]


def test_blocking_waits_for_programs_never_for_databases(exp, program):
    db = exp.create_database(port=0)
    exp.start(db)
    exp.start(program("pass"))
    assert exp.get_status(db) == ["Running"]
    with pytest.raises(ArgumentTypeError, match="does not end by itself"):
        exp.wait(db)
    with pytest.raises(ArgumentTypeError):
        exp.finished(db)


def test_blocking_waits_for_programs_of_earlier_starts_too(exp, program):
    first = program(UNTIL_GO, "first")
    exp.start(first, block=False)
    exp.start(program(f"open('{first.path}/go', 'w')", "second"))
    assert exp.get_status(first) == ["Completed"]


def test_a_database_alone_does_not_block(exp, program):
    exp.start(program(SLEEP), block=False)
    exp.start(exp.create_database(port=0))


def test_programs_find_the_database(exp, program):
    db = exp.create_database(port=0)
    model = program(
        "import os, redis\n"
        "host, port = os.environ['SSDB'].split(':')\n"
        "print(redis.Redis(host, int(port)).ping(), os.environ['SR_DB_TYPE'])"
    )
    exp.start(db, model)
    assert out_of(model) == "True Standalone\n"


SHOW = "import os\nfor name in sorted(os.environ): print(f'{name}={os.environ[name]}')"


def environment_of(model):
    return dict(line.split("=", 1) for line in out_of(model).splitlines() if "=" in line)


def test_programs_get_what_smartredis_clients_need(exp, program):
    db = exp.create_database(port=0)
    reader, writer = program(SHOW, "reader"), program(SHOW, "writer")
    writer.enable_key_prefixing()
    reader.register_incoming_entity(writer)
    exp.start(db, reader, writer)
    got = environment_of(reader)
    assert got["SSDB"] == db.address
    assert got["SR_DB_TYPE"] == "Standalone"
    assert got["SSKEYIN"] == "writer"
    assert "SSKEYOUT" not in got
    assert environment_of(writer)["SSKEYOUT"] == "writer"
    # A slow write must not be sent again: its reply may take ten minutes.
    assert int(got["SR_SOCKET_TIMEOUT"]) >= 600_000


def test_a_second_database_is_found_by_its_identifier(exp, program):
    one = exp.create_database(port=0)
    other = exp.create_database(port=0, db_identifier="other")
    model = program(SHOW)
    model.enable_key_prefixing()
    exp.start(one, other, model)
    got = environment_of(model)
    assert (got["SSDB"], got["SSDB_other"]) == (one.address, other.address)
    assert got["SR_DB_TYPE_other"] == "Standalone"
    assert got["SSKEYOUT_other"] == "program"
    assert got["SR_SOCKET_TIMEOUT_other"] == got["SR_SOCKET_TIMEOUT"]
    assert exp.db_identifiers == {"orchestrator", "other"}


def test_the_caller_s_database_is_hidden_by_the_experiment_s_own(exp, program, monkeypatch):
    monkeypatch.setenv("SSDB", "10.0.0.1:1")
    monkeypatch.setenv("SSDB_old", "10.0.0.1:2")
    monkeypatch.setenv("SSKEYIN", "stranger")
    alone, beside = program(SHOW, "alone"), program(SHOW, "beside")
    exp.start(alone)
    got = environment_of(alone)
    assert (got["SSDB"], got["SR_DB_TYPE"]) == ("10.0.0.1:1", "Standalone")
    assert "SSKEYIN" not in got
    db = exp.create_database(port=0)
    exp.start(db, beside)
    assert environment_of(beside)["SSDB"] == db.address
    assert "SSDB_old" not in environment_of(beside)


def test_the_user_s_environment_wins(exp, program, monkeypatch):
    monkeypatch.setenv("FROM_CALLER", "1")
    model = program(SHOW, "program", SSDB="elsewhere:1", SR_SOCKET_TIMEOUT=7, OWN=True, FROM_CALLER=None)
    exp.start(exp.create_database(port=0), model)
    got = environment_of(model)
    assert (got["SSDB"], got["SR_SOCKET_TIMEOUT"], got["OWN"], got["FROM_CALLER"]) == ("elsewhere:1", "7", "True", "1")


def test_run_settings_are_not_written_to(exp, program):
    model = program("pass")
    exp.start(exp.create_database(port=0), model)
    assert model.run_settings.env_vars == {}


def test_a_database_that_runs_already_is_taken_as_it_is(exp, program):
    model = program(SHOW)
    with Orchestrator(port=0) as db:
        exp.start(db, model)
        assert environment_of(model)["SSDB"] == db.address
        assert db.is_active()
    assert exp.get_status(model, db) == ["Completed", "Cancelled"]


def test_a_failing_program_is_reported_with_its_last_words_and_stops_nothing(exp, program, caplog):
    failing = program("print('so far so good'); raise RuntimeError('no more steam')", "failing")
    going = program(UNTIL_GO, "going")
    exp.start(going, failing, block=False)
    exp.wait(failing)
    assert "failing failed: exit code 1" in caplog.text
    assert "RuntimeError: no more steam" in caplog.text
    assert f"{failing.path}/failing.err" in caplog.text
    assert exp.get_status(failing, going) == [Status.STATUS_FAILED, Status.STATUS_RUNNING]
    open(f"{going.path}/go", "w").close()
    exp.poll(interval=0.05)
    assert exp.get_status(going) == ["Completed"]


def test_a_killed_program_is_reported_with_the_signal(exp, program, caplog):
    exp.start(program("import os; os.kill(os.getpid(), 9)"))
    assert "program failed: killed by SIGKILL" in caplog.text


def test_a_program_that_succeeds_or_is_stopped_is_not_reported(exp, program, caplog):
    exp.start(program("pass", "good"))
    sleeping = program(SLEEP, "sleeping")
    exp.start(sleeping, block=False)
    exp.stop(sleeping)
    assert exp.get_status(sleeping) == ["Cancelled"]
    assert not caplog.records


def test_stop_ends_children_s_children_too(exp, program, family, read_eventually, alive):
    model = program(family)
    exp.start(model, block=False)
    pids = [int(pid) for pid in read_eventually(f"{model.path}/pids", 4)]
    exp.stop(model)
    assert not any(alive(pid) for pid in pids)


def test_stop_kills_what_ignores_sigterm(exp, program, read_eventually, alive):
    model = program(
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(100)"
    )
    exp.start(model, block=False)
    pid = int(read_eventually(f"{model.path}/program.out")[0])
    exp.stop(model, grace_s=0.1)
    assert not alive(pid)
    assert exp.get_status(model) == ["Cancelled"]


def test_a_program_may_tidy_up_when_it_is_stopped(exp, program, read_eventually):
    model = program(
        "import signal, sys, time\n"
        "def tidy(*_): print('tidied'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, tidy); print('ready'); time.sleep(100)"
    )
    exp.start(model, block=False)
    read_eventually(f"{model.path}/program.out")
    exp.stop(model)
    assert out_of(model) == "ready\ntidied\n"


def test_a_paused_program_is_shown_as_such_and_can_be_stopped(exp, program, eventually, read_eventually):
    model = program("import os, time; print(os.getpid()); time.sleep(100)")
    exp.start(model, block=False)
    os.kill(int(read_eventually(f"{model.path}/program.out")[0]), signal.SIGSTOP)
    eventually(lambda: exp.get_status(model) == ["Paused"])
    exp.stop(model)
    assert exp.get_status(model) == ["Cancelled"]


def test_stop_without_names_stops_all_that_was_started(exp, program):
    model, db = program(SLEEP), exp.create_database(port=0)
    exp.stop()
    exp.start(db, model, block=False)
    exp.stop()
    assert exp.get_status(model, db) == ["Cancelled", "Cancelled"]


def test_stopping_what_has_ended_leaves_it_as_it_is(exp, program):
    model = program("pass")
    exp.start(model)
    exp.stop(model)
    assert exp.get_status(model) == ["Completed"]


def test_what_never_started_cannot_be_stopped_or_waited_for(exp, program):
    model, db = program("pass"), exp.create_database(port=0)
    for act in (exp.stop, exp.wait, exp.finished):
        with pytest.raises(NotStartedError, match="'program' was never started"):
            act(model)
    with pytest.raises(NotStartedError):
        exp.stop(db)
    assert exp.get_status(model, db) == ["NeverStarted", "NeverStarted"]


def test_earlier_output_is_kept_when_a_program_runs_again(exp, program):
    model = program("import os; print(len(os.listdir()))")
    for _ in range(3):
        exp.start(model)
    numbers = ("", ".1", ".2")
    assert set(os.listdir(model.path)) == {f"program{number}{kind}" for number in numbers for kind in (".err", ".out")}
    with open(f"{model.path}/program.1.out") as file:
        assert file.read() == "2\n"
    assert out_of(model) == "6\n"


def test_a_program_that_is_not_found_is_an_error_before_anything_starts(exp, program):
    with pytest.raises(ProgramNotFoundError, match="'no-such-simulation' is not found in the PATH"):
        exp.create_run_settings("no-such-simulation")
    model, db = program("pass"), exp.create_database(port=0)
    model.run_settings.exe = ["/no/such/simulation"]
    with pytest.raises(ProgramNotFoundError, match="/no/such/simulation"):
        exp.start(db, model)
    assert exp.get_status(db, model) == ["NeverStarted", "NeverStarted"]


def test_what_a_failed_start_had_started_is_stopped(exp, program, tmp_path, alive):
    broken = tmp_path / "broken"
    broken.write_text("neither script nor binary")
    broken.chmod(0o755)
    good, db = program(SLEEP), exp.create_database(port=0)
    bad = exp.create_model("bad", exp.create_run_settings(str(broken)))
    with pytest.raises(LaunchError, match=r"'bad' cannot be started: .*broken"):
        exp.start(db, good, bad)
    assert exp.get_status(good, bad, db) == ["Cancelled", "NeverStarted", "Cancelled"]
    assert not alive(db.pid)


def test_a_database_without_a_port_stops_the_start(exp, program):
    with Orchestrator(port=0) as other:
        model, db = program("pass"), exp.create_database(port=other.port)
        with pytest.raises(PortTakenError):
            exp.start(db, model)
    assert exp.get_status(model) == ["NeverStarted"]


def test_names_must_differ(exp, program):
    one, other = program(SLEEP, "twin"), program(SLEEP, "twin")
    with pytest.raises(DuplicateNameError, match="2 of the entities are named 'twin'"):
        exp.start(one, other)
    exp.start(one, block=False)
    with pytest.raises(DuplicateNameError, match="another entity named 'twin' is running"):
        exp.start(other)
    with pytest.raises(AlreadyStartedError, match="'twin' runs already"):
        exp.start(one)
    db = exp.create_database(port=0)
    exp.start(db)
    with pytest.raises(DuplicateNameError, match="orchestrator"):
        exp.start(exp.create_database(port=0))
    with pytest.raises(AlreadyStartedError):
        exp.start(db)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a,b", "a\nb"])
def test_names_that_cannot_be_folders_or_keys_are_refused(exp, name):
    settings = exp.create_run_settings("python")
    for make in (
        lambda: exp.create_model(name, settings),
        lambda: exp.create_ensemble(name, run_settings=settings, replicas=1),
        lambda: Experiment(name),
    ):
        with pytest.raises(ArgumentValueError, match="cannot be the name of"):
            make()
    with pytest.raises(ArgumentTypeError):
        exp.create_model(None, settings)


def test_only_entities_can_be_started(exp, program):
    with pytest.raises(ArgumentTypeError, match="got str: 'model'"):
        exp.start("model")
    with pytest.raises(ArgumentTypeError, match=r"put a \* before a list"):
        exp.start([program("pass")])
    with pytest.raises(ArgumentTypeError, match="create_run_settings"):
        exp.create_model("model", "python")
    with pytest.raises(ArgumentTypeError, match="create_batch_settings"):
        exp.create_model("model", exp.create_run_settings("python"), batch_settings=object())
    with pytest.raises(UnsupportedError, match="leave batch_settings out"):
        exp.create_model("model", exp.create_run_settings("python"), batch_settings=SbatchSettings())


def test_status_comes_in_the_order_of_kinds(exp, program):
    db, model = exp.create_database(port=0), program("raise SystemExit(1)")
    ensemble = exp.create_ensemble("ens", run_settings=exp.create_run_settings("true"), replicas=2)
    exp.start(db, ensemble, model)
    assert exp.get_status(db, ensemble, model) == ["Failed", "Completed", "Completed", "Running"]


def test_summary_shows_every_run(exp, program):
    model, db = program("raise SystemExit(3)"), exp.create_database(port=0)
    exp.start(db, model)
    exp.start(model)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in exp.summary().splitlines()]
    assert rows[0] == ["", "Name", "Entity-Type", "JobID", "RunID", "Time", "Status", "Returncode"]
    assert [(row[1], row[2], row[4], row[6], row[7]) for row in rows[2:]] == [
        ("orchestrator", "Orchestrator", "1", "Running", "None"),
        ("program", "Model", "1", "Failed", "3"),
        ("program", "Model", "2", "Failed", "3"),
    ]
    with pytest.raises(ArgumentValueError, match="github"):
        exp.summary("fancy")


def test_launch_summary_is_logged_on_request(exp, program, caplog):
    caplog.set_level("INFO")
    exp.start(program("pass"), summary=True)
    assert "=== Launch Summary ===" in caplog.text
    assert "Model: program: " in caplog.text


def test_poll_logs_what_still_runs(exp, program, caplog):
    caplog.set_level("INFO")
    model = program("import time; time.sleep(0.3)")
    exp.start(model, block=False)
    exp.poll(interval=0.05)
    assert "program (pid" in caplog.text
    assert exp.finished(model)


def test_attached_files_are_put_in_place_by_start(exp, tmp_path):
    (tmp_path / "producer.py").write_text("print('produced')")
    model = exp.create_model("producer", exp.create_run_settings("python", exe_args="producer.py"))
    model.attach_generator_files(to_copy="producer.py")
    exp.start(model)
    assert out_of(model) == "produced\n"
    # A change is seen by the next start.
    (tmp_path / "producer.py").write_text("print('improved')")
    exp.start(model)
    assert out_of(model) == "improved\n"


def test_generated_files_are_not_placed_again_by_start(exp, tmp_path):
    (tmp_path / "input").write_text("x = ;x;")
    model = exp.create_model("reader", exp.create_run_settings("cat", "input"), params={"x": 5})
    model.attach_generator_files(to_configure="input")
    exp.generate(model)
    with open(f"{model.path}/input", "a") as file:
        file.write(" edited by hand")
    exp.start(model)
    assert out_of(model) == "x = 5 edited by hand"


def test_generate_refuses_an_existing_folder_unless_told_to_overwrite(exp, program):
    model = program("pass")
    exp.generate(model)
    open(f"{model.path}/old", "w").close()
    with pytest.raises(PathExistsError, match="overwrite=True"):
        exp.generate(model)
    exp.generate(model, overwrite=True)
    assert os.listdir(model.path) == []


def test_generate_never_deletes_a_folder_outside_the_experiment(exp, tmp_path):
    (tmp_path / "precious").mkdir()
    model = exp.create_model("model", exp.create_run_settings("true"), path=tmp_path / "precious")
    with pytest.raises(PathExistsError, match="is not inside"):
        exp.generate(model, overwrite=True)
    assert (tmp_path / "precious").is_dir()


def test_generate_lists_what_it_placed_beside_it(exp, tmp_path):
    (tmp_path / "input").write_text("first\nx = @x@")
    model = exp.create_model("reader", exp.create_run_settings("cat", "input"), params={"x": 5})
    model.attach_generator_files(to_configure="input")
    exp.generate(model, tag="@")
    with open(f"{model.path}/reader.files.json") as file:
        index = json.load(file)
    assert (index["params"], index["tag"]) == ({"x": "5"}, "@")
    assert [(one["path"], one["source"], one["parameters"]) for one in index["files"]] == [
        ("input", str(tmp_path / "input"), {"x": [2]})
    ]
    with pytest.raises(ArgumentTypeError, match="tag must be a str"):
        exp.generate(model, tag=5, overwrite=True)


def test_a_file_in_the_place_of_the_experiment_is_named(exp, program, tmp_path):
    (tmp_path / "exp").touch()
    with pytest.raises(PathExistsError, match=f"a file is in the way: {tmp_path / 'exp'}"):
        exp.generate(program("pass"))


def test_generate_leaves_running_entities_alone(exp, program):
    model, db = program(SLEEP), exp.create_database(port=0)
    exp.start(db, model, block=False)
    for entity in (model, db):
        with pytest.raises(AlreadyStartedError):
            exp.generate(entity, overwrite=True)


def test_generate_empties_a_database_s_folder_unless_it_keeps_data(exp):
    fleeting = exp.create_database(port=0)
    lasting = exp.create_database(port=0, db_identifier="lasting", persistence="rdb")
    exp.start(fleeting, lasting)
    exp.stop(fleeting, lasting)
    exp.generate(fleeting, lasting)
    assert os.listdir(fleeting.path) == []
    assert "lasting.rdb" in os.listdir(lasting.path)


INTERRUPTED = """
import logging, os, sys, time
from smartml.experiment import Experiment, Orchestrator
exp = Experiment("exp")
db = exp.create_database(port=0)
model = exp.create_model("family", exp.create_run_settings("python", ["-c", {family!r}]))
exp.start(db, block=False{option})
print(db.pid, flush=True)
{act}
"""


def interrupt_when_running(process, tmp_path, read_eventually):
    database = int(process.stdout.readline())
    pids = [int(pid) for pid in read_eventually(tmp_path / "exp/family/pids", 4)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    return database, pids, errors


@pytest.mark.parametrize("act", ["exp.start(model)", "exp.start(model, block=False); exp.poll()"])
def test_ctrl_c_stops_everything_children_s_children_too(script, tmp_path, family, read_eventually, alive, act):
    # Stopped by the time the interrupt leaves the call, before the script ends.
    act = (
        f"try:\n    {act}\nexcept KeyboardInterrupt:\n"
        "    print(*exp.get_status(model, db), flush=True)\n    time.sleep(0.2)\n    raise"
    )
    process = script(INTERRUPTED.format(family=family, act=act, option=""))
    database = int(process.stdout.readline())
    pids = [int(pid) for pid in read_eventually(tmp_path / "exp/family/pids", 4)]
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "Cancelled Cancelled\n"
    assert not any(alive(pid) for pid in (database, *pids))
    _, errors = process.communicate()
    assert "interrupted: stopping orchestrator (pid" in errors
    assert "KeyboardInterrupt" in errors


def test_ctrl_c_leaves_a_detached_database(script, tmp_path, family, read_eventually, alive):
    code = INTERRUPTED.replace("port=0", "port=0, detach=True")
    process = script(code.format(family=family, act="exp.start(model)", option=""))
    database, pids, _ = interrupt_when_running(process, tmp_path, read_eventually)
    assert not any(alive(pid) for pid in pids)
    db = Orchestrator.attach(tmp_path / "exp" / "orchestrator")
    assert db.pid == database and db.is_active()
    db.stop()


@pytest.mark.parametrize(
    "act",
    [
        "exp.start(model, kill_on_interrupt=False)",
        "exp.start(model, block=False, kill_on_interrupt=False); time.sleep(100)",
    ],
)
def test_ctrl_c_leaves_programs_running_on_request(script, tmp_path, family, read_eventually, alive, act):
    process = script(INTERRUPTED.format(family=family, act=act, option=", kill_on_interrupt=False"))
    database, pids, errors = interrupt_when_running(process, tmp_path, read_eventually)
    try:
        assert f"left running, to be stopped by hand: orchestrator (pid {database}), family (pid {pids[0]})" in errors
        time.sleep(0.3)
        assert all(alive(pid) for pid in (database, *pids))
    finally:
        for pid in (database, *pids):
            os.kill(pid, signal.SIGKILL)


def test_the_guide_s_launch_script_works(script, tmp_path):
    (tmp_path / "producer.py").write_text(
        "import os, redis\n"
        "host, port = os.environ['SSDB'].split(':')\n"
        "redis.Redis(host, int(port)).set(os.environ['SSKEYOUT'] + '.points_0', 'data')\n"
    )
    (tmp_path / "training_service.py").write_text(
        "import os, redis, time\n"
        "host, port = os.environ['SSDB'].split(':')\n"
        "client = redis.Redis(host, int(port))\n"
        "while not client.exists(os.environ['SSKEYIN'] + '.points_0'): time.sleep(0.01)\n"
        "print('trained')\n"
    )
    process = script(
        "from smartml.experiment import Experiment, Orchestrator\n"
        "db = Orchestrator(port=0)\n"
        'exp = Experiment("online-training", launcher="local")\n'
        'producer_script = "producer.py"\n'
        'settings = exp.create_run_settings("python", exe_args=producer_script)\n'
        'uploader_model = exp.create_model("producer", settings, enable_key_prefixing=True)\n'
        "uploader_model.attach_generator_files(to_copy=producer_script)\n"
        'training_script = "training_service.py"\n'
        'settings = exp.create_run_settings("python", exe_args=training_script)\n'
        'trainer_model = exp.create_model("training_service", settings)\n'
        "trainer_model.attach_generator_files(to_copy=training_script)\n"
        "trainer_model.register_incoming_entity(uploader_model)\n"
        "exp.start(db, uploader_model, block=False, summary=False)\n"
        "exp.start(trainer_model, block=True, summary=False)\n"
    )
    out, errors = process.communicate()
    assert (process.returncode, out, errors) == (0, "", "")
    assert (tmp_path / "online-training/training_service/training_service.out").read_text() == "trained\n"
