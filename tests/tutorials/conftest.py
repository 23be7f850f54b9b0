"""The files of the first tutorial, importable as they are in its folder."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tutorials/01_online_surrogate"
sys.path.insert(0, str(FOLDER))


@pytest.fixture(scope="session")
def tutorial():
    """The folder of the tutorial."""
    return FOLDER
