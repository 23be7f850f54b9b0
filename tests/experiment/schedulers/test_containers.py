"""Containers: the words before a program."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.containers import Apptainer, Container, Singularity
from smartml.experiment.schedulers.local import command_line
from smartml.experiment.schedulers.settings import RunSettings


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "--pwd /cwd --bind /cwd i.sif"),
        ({"args": "--nv --cleanenv"}, "--pwd /cwd --nv --cleanenv --bind /cwd i.sif"),
        ({"args": ["--nv"]}, "--pwd /cwd --nv --bind /cwd i.sif"),
        ({"mount": "/data"}, "--pwd /cwd --bind /cwd,/data i.sif"),
        ({"mount": ["/a", "/b:/c"]}, "--pwd /cwd --bind /cwd,/a,/b:/c i.sif"),
        ({"mount": {"/a": None, "/b": "/c"}}, "--pwd /cwd --bind /cwd,/a,/b:/c i.sif"),
        ({"mount": "/cwd:/w"}, "--pwd /cwd --bind /cwd:/w i.sif"),
        ({"working_directory": "/w", "mount": "/w,/data"}, "--pwd /w --bind /w,/data i.sif"),
    ],
)
def test_the_words_before_the_program(options, expected):
    assert " ".join(Singularity("i.sif", **options).container_cmds("/cwd")) == f"singularity exec {expected}"


def test_the_command_that_is_there_is_taken(played):
    assert (Singularity("i").runtime, Apptainer("i").runtime) == ("singularity", "apptainer")
    folder = played("apptainer")
    assert Singularity("i").runtime == Apptainer("i").runtime == str(folder / "apptainer")


def test_a_program_of_the_image_is_not_looked_up_here():
    settings = RunSettings("only-inside", "a", container=Singularity("i.sif"))
    assert command_line(settings, "/cwd")[-3:] == ("i.sif", "only-inside", "a")
    assert settings.programs() == ["singularity"]


@pytest.mark.parametrize(
    "options", [{"image": 5}, {"args": 5}, {"args": [5]}, {"mount": 5}, {"mount": {"/a": 5}}, {"working_directory": 5}]
)
def test_wrong_types_are_refused(options):
    with pytest.raises(ArgumentTypeError):
        Singularity(**{"image": "i.sif", **options})


def test_what_says_nothing_is_refused():
    with pytest.raises(ArgumentTypeError, match="use Singularity or Apptainer"):
        Container("i.sif")
    with pytest.raises(ArgumentValueError, match="image"):
        Singularity("")
    with pytest.raises(ArgumentTypeError, match="must be a Container"):
        RunSettings("echo", container="i.sif")
