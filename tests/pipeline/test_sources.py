"""Paths as a source."""

import sys

import pytest

from smartml.errors import MissingDependencyError
from smartml.pipeline import FilePathGenerator


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("fsspec")
    for name in ("b.txt", "a b.txt", "deep/c.txt", "deep/er/d.txt", "deep/er/e.txt", "other/f.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_a_folder_is_listed_sorted_with_what_lies_in_it(folder):
    paths = FilePathGenerator(str(folder))

    assert paths.collect() == [f"{folder}/{name}" for name in ("a b.txt", "b.txt", "deep", "other")]


@pytest.mark.parametrize("limits", [{}, {"max_dirs": 1}, {"max_keys": 1}, {"max_workers": 1}])
def test_nested_gives_the_files_of_all_depths(folder, limits):
    paths = FilePathGenerator(str(folder), nested=True, **limits)

    names = ["a b.txt", "b.txt", "deep/c.txt", "other/f.txt", "deep/er/d.txt", "deep/er/e.txt"]
    assert paths.collect() == paths.collect() == [f"{folder}/{name}" for name in names]


def test_paths_have_the_protocol_that_the_url_had(folder):
    for nested in (False, True):
        assert FilePathGenerator(f"file://{folder}", nested=nested).take(1).collect() == [f"file://{folder}/a b.txt"]


def test_other_file_systems_are_listed_too():
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/paths/a/x": b"", "/paths/y": b""})

    assert FilePathGenerator("memory://paths", nested=True).collect() == ["memory:///paths/y", "memory:///paths/a/x"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_folder_that_is_not_there_is_empty(folder, nested):
    assert FilePathGenerator(f"{folder}/nothing", nested=nested).collect() == []


def test_paths_are_resumed(folder):
    paths = FilePathGenerator(str(folder), nested=True)
    begun = iter(paths)
    head = [next(begun) for _ in range(3)]
    state = begun.state_dict()

    paths.load_state_dict(state)

    assert paths.collect() == list(begun)
    assert len(head) == 3


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)

    with pytest.raises(MissingDependencyError, match=r"smartml\[pipeline\]"):
        FilePathGenerator("memory://x").collect()
