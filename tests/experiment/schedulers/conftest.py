"""What every scheduler is asked to run, and small programs that play its commands."""

import os
import shutil

import pytest

from smartml.experiment.schedulers.settings import Placement


@pytest.fixture
def place():
    """Where model `m` runs."""
    return Placement("m", "m-ID", "/cwd", "/st/m.out", "/st/m.err")


@pytest.fixture
def job():
    """Where the batch job `bt` itself writes."""
    return Placement("bt", "bt-ID", "/cwd", "/st/bt.out", "/st/bt.err")


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """A PATH without any scheduler, on which tests put commands by `played`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "bash", "echo", "sleep", "true", "env", "nice", "mkdir", "mv", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    for name in ("PBS_JOBID", "SLURM_HET_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def played(bare_machine):
    """Put commands on the PATH that print a text."""

    def play(*names, text=""):
        for name in names:
            file = bare_machine / name
            file.write_text(f"#!/bin/sh\necho '{text}'\n")
            os.chmod(file, 0o755)
        return bare_machine

    return play


@pytest.fixture
def words(bare_machine):
    """Return a command as one text, without the folder that this machine has its programs in."""

    def text(command):
        return " ".join(command).replace(f"{bare_machine}/", "")

    return text


@pytest.fixture
def own_lines():
    """Return the lines of a script that are not the same in all of them: options, preamble, and programs."""

    def part(script):
        begin, end = script.index("codes="), script.index('exit "$2"\n}\n\n') + len('exit "$2"\n}\n\n')
        return script[:begin] + script[end : script.index("code=0")]

    return part
