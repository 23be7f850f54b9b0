"""docker-compose.yml: no engine is needed to see that its services name what is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="needs the package PyYAML")

ROOT = Path(__file__).parent.parent
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
TUTORIAL = ROOT / "tutorials/01_online_surrogate"


def test_there_is_a_database_a_producer_and_a_trainer():
    assert list(SERVICES) == ["database", "producer-0", "producer-1", "trainer"]


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_built_from_the_recipe(name):
    build = SERVICES[name]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_command_has_only_options_that_exist(name):
    words = SERVICES[name]["command"].split()
    options = {word for word in words if word.startswith("--")}
    if words[0] == "python":
        script = TUTORIAL / Path(words[1]).name
        known = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=TUTORIAL)
    else:
        known = subprocess.run([sys.executable, "-m", *words[:3], "--help"], capture_output=True, text=True)

    assert known.returncode == 0, known.stderr
    assert all(option in known.stdout for option in options)


def test_trainer_reads_what_the_producers_write():
    written = {service["environment"]["SSKEYOUT"] for name, service in SERVICES.items() if "producer" in name}
    assert set(SERVICES["trainer"]["environment"]["SSKEYIN"].split(",")) == written
    addresses = {service["environment"]["SSDB"] for name, service in SERVICES.items() if name != "database"}
    assert addresses == {"database:6379"}


def test_docker_itself_takes_the_file():
    has_compose = (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    )
    if not has_compose:
        pytest.skip("no docker with its plugin compose")
    command = ["docker", "compose", "--file", ROOT / "docker-compose.yml", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
