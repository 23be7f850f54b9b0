"""Programs of SmartSim and SmartRedis, run by `smartml compat run` as users run them: each in a process of its own."""

import os
import subprocess
import sys
import textwrap

import pytest

# What programs inherit here, and must not.
VARIABLES = ("SSDB", "SR_DB_TYPE", "SSKEYIN", "SSKEYOUT", "SMARTSIM_LOG_LEVEL", "SR_LOG_LEVEL", "SR_LOG_FILE")


def run_file(script, *options, flags=(), env=None, code=0):
    """Run a program; return what it prints, line by line."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "smartml.compat", "run", *flags, str(script), *options],
        cwd=script.parent,
        env={**environment, "SMARTSIM_LOG_LEVEL": "quiet", "SR_LOG_LEVEL": "quiet", **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return (done.stdout + done.stderr if code else done.stdout).splitlines()


@pytest.fixture
def program(tmp_path):
    """A function that runs the text of a program in a folder of its own."""

    def run(text, *options, **how):
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(text))
        return run_file(script, *options, **how)

    return run


@pytest.fixture
def database(client, server):
    """The environment of a program that finds an empty database."""
    return {"SSDB": server.address, "SR_DB_TYPE": "Standalone"}
