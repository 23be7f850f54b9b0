"""Databases beside a program: described, started with it on its node, shared by its processes, gone with it."""

import os
import shlex
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from servers import server_program

from smartml.errors import ArgumentTypeError, ArgumentValueError, DuplicateNameError, UnsupportedError
from smartml.experiment import JsrunSettings, Model, MpirunSettings, Orchestrator, RunSettings

MPIRUN = Path(sys.executable).with_name("mpirun")
needs_mpirun = pytest.mark.skipif(not MPIRUN.exists(), reason="no mpirun: pip install mpich")

PUT = """
import os, sys, numpy as np, smartml
with smartml.Client(db_identifier=sys.argv[1] if len(sys.argv) > 1 else None) as client:
    client.put_tensor("x", np.arange(3))
    found = client.get_tensor("x").tolist()
    pid = client.database.command("INFO", "server")["process_id"]
print(found, pid, os.environ.get("SSDB"), os.environ.get("SSDB_inner"), os.environ.get("SR_DB_TYPE"), sep="|")
"""


def model_of(settings=None):
    return Model("m", None, settings or RunSettings("python", ["-c", "pass"]))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def told(model):
    """Return what the program printed, word by word, each process in a line of its own."""
    return [line.split("|") for line in Path(model.path, f"{model.name}.out").read_text().splitlines()]


# On paper


def test_the_program_is_started_through_what_starts_its_database():
    model = model_of(RunSettings("python", ["-c", "pass"], "echo", {"-n": 2}))
    plain = model.run_settings
    model.colocate_db_tcp(6780, maxclients=100, db_cpus=2)
    words = model.run_settings.local_command("/f")
    assert model.colocated and plain.local_command("/f")[3:] == words[-3:]
    assert words[1:3] == ["-n", "2"] and words[4] == "-IS" and words[5].endswith("colocated_start.py")
    assert '"port": 6780' in words[6] and '"maxclients": "100"' in words[6] and '"cpus": [0, 1]' in words[6]


def test_each_program_has_its_own_though_they_share_settings():
    settings = RunSettings("python", ["-c", "pass"])
    one, two = model_of(settings), model_of(settings)
    for model in (one, two):
        model.colocate_db_tcp()
    assert settings.prelude == ()
    assert one.run_settings.prelude != two.run_settings.prelude


@pytest.mark.parametrize(
    ("pinning", "cpus"),
    [(None, (0, 1)), ([], None), ([3, 1], (1, 3)), ([range(2), 5], (0, 1, 5)), ((cpu for cpu in (1, 1)), (1,))],
)
def test_pinning_is_read(pinning, cpus):
    model = model_of()
    model.colocate_db_tcp(db_cpus=2, custom_pinning=pinning)
    assert model.colocated_database.cpus == cpus


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"port": -1}, ArgumentValueError, "port must be 0 .any that is free. to 65535, got -1"),
        ({"db_cpus": 0}, ArgumentValueError, "db_cpus must be a whole number from 1 on"),
        ({"custom_pinning": [-1]}, ArgumentValueError, "names CPU -1; they count from 0"),
        ({"custom_pinning": ["a"]}, ArgumentTypeError, "numbers of CPUs, or groups of them, got 'a'"),
        ({"custom_pinning": "0,1"}, ArgumentTypeError, "numbers of CPUs, or groups of them, got '0,1'"),
        ({"custom_pinning": 3}, ArgumentTypeError, "numbers of CPUs, or groups of them, got 3"),
        ({"db_identifier": "a/b"}, ArgumentValueError, "must be made of letters"),
        ({"limit_app_cpus": True}, UnsupportedError, "the run command's binding options"),
        ({"maxclients": None}, ArgumentTypeError, "maxclients=None is no setting of Redis"),
        ({"password": "secret"}, UnsupportedError, "would stand in the command line that starts it"),
        ({"requirepass": "secret"}, UnsupportedError, "requirepass would stand in a command line"),
        ({"username": "me"}, ArgumentValueError, "user 'me' needs a password"),
        ({"tls": "yes"}, ArgumentTypeError, "tls must be True, a smartml.store.TLS or None"),
    ],
)
def test_wrong_arguments_are_refused_at_once(wrong, error, message):
    model = model_of()
    with pytest.raises(error, match=message):
        model.colocate_db_tcp(**wrong)
    assert not model.colocated


@pytest.mark.parametrize("wrong", [{"unix_socket": "/tmp/a b"}, {"unix_socket": ""}, {"socket_permissions": 888}])
def test_a_wrong_socket_is_refused_at_once(wrong):
    with pytest.raises(ArgumentValueError, match=r"unix_socket|socket_permissions"):
        model_of().colocate_db_uds(**wrong)


def test_the_older_name_still_works_and_says_the_new_one():
    model = model_of()
    with pytest.warns(FutureWarning, match="colocate_db is now colocate_db_tcp"):
        model.colocate_db(port=6781)
    assert model.colocated_database.port == 6781
    with pytest.warns(UserWarning, match="threads_per_queue is for models"):
        model.colocate_db_tcp(threads_per_queue=2, intra_op_parallelism=3)
    assert model.colocated_database.intra_op_threads == 3 and not model.colocated_database.settings
    with pytest.raises(ArgumentValueError, match="intra_op_parallelism"):
        model.colocate_db_tcp(intra_op_parallelism=0)


def test_what_starts_several_programs_cannot_have_one():
    settings = MpirunSettings("python", fail_if_missing_exec=False)
    settings.make_mpmd(MpirunSettings("python", fail_if_missing_exec=False))
    with pytest.raises(UnsupportedError, match="several programs at once"):
        model_of(settings).colocate_db_tcp()


def test_jsrun_gives_all_processes_of_a_host_one_resource_set_with_room_for_the_database():
    model = model_of(JsrunSettings("python", run_args={"cpu_per_rs": 1}))
    model.colocate_db_tcp(db_cpus=3)
    assert model.run_settings.run_args == {"cpu_per_rs": 3, "rs_per_host": 1}


# For real


def test_a_program_has_its_database_by_tcp_and_it_goes_with_it(exp, program, alive, eventually, monkeypatch):
    # What a caller was given by somebody else is not meant.
    monkeypatch.setenv("SSDB", "10.0.0.1:1")
    model = program(PUT)
    port = free_port()
    model.colocate_db_tcp(port)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    [[found, pid, address, other, kind]] = told(model)
    assert (found, address, other, kind) == ("[0, 1, 2]", f"127.0.0.1:{port}", "None", "Standalone")
    eventually(lambda: not alive(int(pid)))
    assert sorted(os.listdir(model.path)) == ["program.err", "program.out"]


def test_a_program_has_its_database_by_a_socket_alone(exp, program, tmp_path, eventually):
    path = f"/tmp/smartml-test-{os.getpid()}.sock"
    code = PUT + f"import os; print(oct(os.stat('{path}').st_mode)[-3:])"
    model = program(code)
    model.colocate_db_uds(path, socket_permissions=700, debug=True)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    [[found, _, address, _, _], [mode]] = told(model)
    assert (found, address, mode) == ("[0, 1, 2]", f"unix://{path}", "700")
    eventually(lambda: not os.path.exists(path))
    log = Path(model.path, "program-db.log").read_text()
    assert "The server is now ready to accept connections at " + path in log and "port=" not in log.replace(
        "port=0", ""
    )


# What a program has to show, where the way to it stands, and whether the secret is anywhere else.
AUTH = """
import json, os, pathlib, stat, psutil, smartml
name = "SMARTML_DB_AUTH_inner"
file = os.environ[name]
content = json.loads(open(file).read())
secret = content["password"]
with smartml.Client(db_identifier="inner") as client:
    client.put_tensor("x", __import__("numpy").arange(3))
    found = client.get_tensor("x").tolist()
    pid = client.database.command("INFO", "server")["process_id"]
try:
    smartml.Client(address=os.environ["SSDB_inner"], credentials=smartml.store.Credentials(tls=None))
except smartml.errors.SmartMLError as error:
    refused = type(error).__name__
else:
    refused = "nobody"
seen = []
for process in psutil.process_iter():
    try:
        words = [*process.cmdline(), *process.environ().values()]
    except psutil.Error:
        continue
    seen += [word for word in words if secret in word]
mode = oct(stat.S_IMODE(os.stat(file).st_mode))
print(found, pid, mode, content.get("username"), "tls" in content, refused, len(seen), file, sep="|")
"""


@pytest.mark.parametrize("way", ["tcp", "uds"])
def test_a_password_is_made_on_the_node_and_shown_to_the_program_alone(exp, program, alive, eventually, way):
    model = program(AUTH)
    if way == "tcp":
        model.colocate_db_tcp(0, db_identifier="inner", password=True, username="me")
    else:
        model.colocate_db_uds(
            f"/tmp/smartml-test-{os.getpid()}.sock", db_identifier="inner", password=True, username="me"
        )
    exp.start(model)
    assert exp.get_status(model) == ["Completed"], Path(model.path, "program.err").read_text()
    [[found, pid, mode, user, tls, refused, seen, file]] = told(model)
    assert (found, mode, user, tls, seen) == ("[0, 1, 2]", "0o600", "me", "False", "0")
    assert refused == "StoreReplyError"
    eventually(lambda: not alive(int(pid)))
    eventually(lambda: not os.path.exists(file))


def test_a_password_may_come_from_a_file(exp, program, tmp_path):
    (tmp_path / "secret").write_text("open sesame\n")
    (tmp_path / "secret").chmod(0o600)
    model = program(AUTH)
    model.colocate_db_tcp(0, db_identifier="inner", password=tmp_path / "secret")
    assert "open sesame" not in " ".join(model.run_settings.local_command("/f"))
    exp.start(model)
    assert exp.get_status(model) == ["Completed"], Path(model.path, "program.err").read_text()
    assert told(model)[0][2:4] == ["0o600", "None"]
    # The file is looked for on the node.
    (tmp_path / "secret").unlink()
    exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert "the password is to be in" in Path(model.path, "program.err").read_text()


def test_the_database_beside_a_program_may_be_encrypted(exp, program, monkeypatch):
    pytest.importorskip("cryptography", reason='no cryptography: pip install "smartml[tls]"')
    monkeypatch.setenv("SMARTML_REDIS_SERVER", server_program("on the PATH"))
    model = program(AUTH)
    model.colocate_db_tcp(0, db_identifier="inner", password=True, tls=True)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"], Path(model.path, "program.err").read_text()
    assert told(model)[0][2:7] == ["0o600", "None", "True", "StoreConnectionError", "0"]


def test_a_unix_socket_is_not_encrypted():
    with pytest.raises(UnsupportedError, match="a unix socket is not encrypted"):
        model_of().colocate_db_uds(tls=True)


def test_several_databases_are_told_apart_by_their_identifiers(exp, program):
    shared = exp.create_database(port=0)
    model = program(PUT, "program", "inner")
    model.colocate_db_tcp(0, db_identifier="inner")
    exp.start(shared, model)
    assert exp.get_status(model) == ["Completed"]
    [[_, pid, outer, inner, _]] = told(model)
    assert outer == shared.address != inner and inner.startswith("127.0.0.1:") and int(pid) != shared.pid
    model.enable_key_prefixing()
    text = exp.preview(model)
    assert "Environment: SSDB_inner=127.0.0.1:0" in text and "Environment: SSKEYOUT_inner=program" in text


def test_two_databases_of_one_identifier_are_refused(exp, program):
    shared, model = exp.create_database(port=0), program(PUT)
    model.colocate_db_tcp(0)
    model.colocate_db_tcp(0, db_identifier="orchestrator")
    with pytest.raises(DuplicateNameError, match="whose identifier is that of another, 'orchestrator'"):
        exp.start(shared, model)
    assert not shared.is_running
    exp.start(shared)
    with pytest.raises(DuplicateNameError):
        exp.start(model)


def test_exit_code_and_signals_are_the_program_s_own(exp, program, eventually):
    failing = program("import sys; sys.exit(5)", "failing")
    failing.colocate_db_tcp(0)
    # Python ignores a broken pipe where its parent did; a program of Python's must not inherit that.
    piped = exp.create_model("piped", exp.create_run_settings("sh", ["-c", "yes | head -n 1; kill -9 $$"]))
    piped.colocate_db_tcp(0)
    missing = exp.create_model("missing", exp.create_run_settings("sh"))
    missing.run_settings.exe = ["/bin/sh"]
    missing.colocate_db_tcp(0)
    missing.run_settings.exe_args = ["-c", "exec /nowhere/at/all"]
    exp.start(failing, piped, missing)
    codes = [run.split("|")[-2].strip() for run in exp.summary().splitlines()[2:]]
    assert codes == ["5", "-9", "127"]
    assert Path(piped.path, "piped.err").read_text() == ""


def test_a_program_that_is_stopped_can_still_use_its_database(exp, program, eventually, alive):
    code = """
import os, signal, sys, time, numpy as np, smartml
client = smartml.Client()
print(client.database.command("INFO", "server")["process_id"], flush=True)
def save(number, frame):
    time.sleep(0.3)
    client.put_tensor("last", np.arange(3))
    print(client.get_tensor("last").tolist())
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
signal.pause()
"""
    model = program(code)
    model.colocate_db_tcp(0)
    exp.start(model, block=False)
    eventually(lambda: ["ready"] in (told(model) if Path(model.path, "program.out").exists() else []))
    exp.stop(model)
    [[pid], _, [saved]] = told(model)
    assert saved == "[0, 1, 2]"
    eventually(lambda: not alive(int(pid)))


def test_a_program_that_is_killed_takes_its_database_along(exp, program, eventually, alive):
    model = program(PUT + "sys.stdout.flush(); import time; time.sleep(100)")
    model.colocate_db_tcp(0)
    exp.start(model, block=False)
    eventually(lambda: Path(model.path, "program.out").exists() and told(model))
    [[_, pid, *_]] = told(model)
    process = psutil.Process(int(pid))
    [running] = [one for one in psutil.process_iter() if "time.sleep(100)" in " ".join(_words(one))]
    running.kill()
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert exp.wait(model, timeout_s=10) and exp.get_status(model) == ["Failed"]


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_port_that_is_taken_is_told_and_the_program_not_started(exp, program):
    with socket.create_server(("127.0.0.1", 0)) as held:
        model = program("print('started')")
        model.colocate_db_tcp(held.getsockname()[1])
        exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert told(model) == []
    text = Path(model.path, "program.err").read_text()
    assert f"has no database beside it: port {model.colocated_database.port}" in text
    assert f"is taken by pid {os.getpid()}" in text and "Traceback" not in text


def test_a_socket_that_another_database_has_is_not_taken_from_it(exp, program):
    path = f"/tmp/smartml-test-{os.getpid()}.sock"
    with Orchestrator(port=None, unix_socket=path) as other:
        model = program("print('started')")
        model.colocate_db_uds(path)
        exp.start(model)
        assert exp.get_status(model) == ["Failed"]
        assert f"{path} is taken" in Path(model.path, "program.err").read_text()
        assert other.is_active()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no processes to CPUs")
def test_the_server_keeps_to_its_cpus_and_the_program_does_not(exp, program):
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("needs two CPUs")
    model = program(PUT + "import psutil; print(psutil.Process(int(pid)).cpu_affinity(), os.sched_getaffinity(0))")
    model.colocate_db_tcp(0, custom_pinning=[allowed[1]])
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    assert told(model)[1] == [f"[{allowed[1]}] {set(allowed)}"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no processes to CPUs")
def test_cpus_that_are_not_there_are_told(exp, program):
    model = program("print('started')")
    model.colocate_db_tcp(0, custom_pinning=[0, 4096])
    exp.start(model)
    text = Path(model.path, "program.err").read_text()
    assert "is to run on CPUs 0, 4096, of which this job may use 0" in text
    assert told(model) == []


@needs_mpirun
@pytest.mark.skipif(find_spec("mpi4py") is None, reason="no mpi4py: pip install mpi4py")
def test_the_ranks_of_a_node_share_one_database(exp, alive, eventually):
    code = """
import time
from mpi4py import MPI
import numpy as np, smartml
rank = MPI.COMM_WORLD.rank
client = smartml.Client()
pid = client.database.command("INFO", "server")["process_id"]
MPI.COMM_WORLD.Barrier()
client.put_tensor(f"x_{rank}", np.full(2, rank))
MPI.COMM_WORLD.Barrier()
print(f"{rank}|{pid}|{client.get_tensor(f'x_{3 - rank}').tolist()}\\n", end="")
"""
    settings = exp.create_run_settings("python", ["-c", code], str(MPIRUN), {"-n": 4})
    model = exp.create_model("ranks", settings)
    model.colocate_db_tcp(0)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"], Path(model.path, "ranks.err").read_text()
    found = sorted(told(model))
    assert [(rank, array) for rank, _, array in found] == [(str(r), f"[{3 - r}, {3 - r}]") for r in range(4)]
    [pid] = {pid for _, pid, _ in found}
    eventually(lambda: not alive(int(pid)))


@needs_mpirun
def test_processes_that_end_early_do_not_take_the_database_from_those_that_come_late(exp):
    # No barrier: the last one comes when all others have ended.
    code = """
import os, time, numpy as np, smartml
rank = int(os.environ["PMI_RANK"])
with smartml.Client() as client:
    if rank < 2:
        client.put_tensor(f"x_{rank}", np.arange(2))
    else:
        print(client.poll_tensor("x_0", 10, 1000) and client.poll_tensor("x_1", 10, 1000))
"""
    described = model_of()
    described.colocate_db_tcp(0)
    joining = shlex.join([*described.run_settings.prelude, sys.executable, "-c", code])
    script = f"if [ $PMI_RANK = 2 ]; then sleep 1.5; fi; exec {joining}"
    model = exp.create_model("ranks", exp.create_run_settings("sh", ["-c", script], str(MPIRUN), {"-n": 3}))
    exp.start(model)
    assert exp.get_status(model) == ["Completed"], Path(model.path, "ranks.err").read_text()
    assert told(model) == [["True"]]


def test_nothing_of_it_is_left_in_the_temporary_folder(exp, program, eventually, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    model = program("import tempfile, os; print(sorted(os.listdir(tempfile.gettempdir())))")
    model.colocate_db_tcp(0)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    assert "smartml-beside-" in told(model)[0][0]
    eventually(lambda: os.listdir(tmp_path / "t") == [])
    # Nor when the server does not start.
    failing = program("pass", "failing")
    failing.colocate_db_tcp(0, maxmemory_policy="none-such")
    exp.start(failing)
    assert exp.get_status(failing) == ["Failed"]
    assert "none-such" in Path(failing.path, "failing.err").read_text()
    eventually(lambda: os.listdir(tmp_path / "t") == [])
