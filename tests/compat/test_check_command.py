"""`smartml compat check`, run as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """from smartsim import Experiment
from smartsim.settings import DragonRunSettings

exp = Experiment("sweep")
exp.start()
exp.start()
exp.poll()
"""


def check(*arguments, **options):
    command = [sys.executable, "-m", "smartml", "compat", "check", *arguments]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, **options)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "old.py").write_text("print 'x'\n")
    return tmp_path


def test_what_it_finds_is_told_file_by_file(project):
    done = check(str(project))

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "driver.py",
        "  ✓ smartsim.Experiment = smartml.Experiment  line 1",
        "  ✗ smartsim.settings.DragonRunSettings  line 2",
        "      instead: smartml.experiment.schedulers.slurm.SrunSettings; smartml has no launcher for Dragon;",
        "      use that of the machine's batch system",
        "  ✓ smartsim.Experiment.start = smartml.Experiment.start  lines 5, 6",
        "  → smartsim.Experiment.poll  line 7",
        "      instead: smartml.Experiment.wait; it returns the moment that the programs have ended",
        "not read",
        "  old.py: Missing parentheses in call to 'print'. Did you mean print(...)? (line 1)",
        "1 file read, 1 with names of SmartSim or SmartRedis: 2 work unchanged, 1 is better written otherwise, "
        "1 is not there; 1 file could not be read",
    ]


def test_programs_that_run_as_they_are_need_nothing():
    done = check(str(Path(__file__).with_name("programs")))
    assert done.returncode == 0, done.stdout
    assert "0 are not there" in done.stdout and "✓ smartredis.Client.run_model" in done.stdout


def test_only_changes_are_told_when_asked(project):
    shown = check("--changes", str(project)).stdout
    assert "✓" not in shown
    assert "✗ smartsim.settings.DragonRunSettings" in shown and "→ smartsim.Experiment.poll" in shown


def test_the_exit_code_is_0_when_nothing_is_missing(project):
    (project / "driver.py").write_text(DRIVER.replace("from smartsim.settings import DragonRunSettings", ""))
    done = check(cwd=project)
    assert done.returncode == 0
    assert "0 are not there" in done.stdout


def test_programs_read_json(project):
    done = check("--json", str(project))
    facts = json.loads(done.stdout)
    assert done.returncode == 1
    assert facts["names"] == {"unchanged": 2, "better": 1, "missing": 1}
    assert [use["line"] for use in facts["files"][0]["uses"]] == [1, 2, 5, 6, 7]
    assert facts["unread"][0]["file"] == "old.py"


def test_a_project_without_their_names_needs_nothing(tmp_path):
    (tmp_path / "a.py").write_text("import numpy\n")
    done = check(str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "1 file read, none uses SmartSim or SmartRedis\n")


def test_names_of_files_are_no_markup(tmp_path):
    (tmp_path / "[red]a.py").write_text("import smartsim\n")
    (tmp_path / "[bold]b.py").write_text("(")
    shown = check(str(tmp_path)).stdout
    assert "[red]a.py" in shown and "[bold]b.py: '(' was never closed (line 1)" in shown


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    done = check(str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and "is not there" in done.stderr and "Traceback" not in done.stderr


def test_the_help_of_the_group_lists_it_with_its_own_first_sentence():
    command = [sys.executable, "-m", "smartml", "compat"]
    listed = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    own = check("--help").stdout
    sentence = "Tell what of a project works unchanged, is better written otherwise, or is missing."
    assert sentence in " ".join(own.split())
    assert f"check {sentence}" in " ".join(listed.split())
