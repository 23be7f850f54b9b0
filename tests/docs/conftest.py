"""The site, built once for all tests."""

import subprocess
import sys

import pytest

from .pages import DOCS


def build(folder):
    """Build the site as `make docs` does; return the process, which has ended."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-d", folder / "doctrees"]
    return subprocess.run([*command, DOCS, folder / "html"], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The process that built the site, how long it took, and the site."""
    for package in ("sphinx", "furo", "myst_parser", "griffe", "sphinx_copybutton"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    return done, folder / "html"


@pytest.fixture(scope="session")
def site(built):
    """The folder of the site."""
    return built[1]
