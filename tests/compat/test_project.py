"""A whole project read: the files that count, those that cannot be read, and what is said of the rest."""

import json
import os

import pytest

from smartml.compat.project import read_project
from smartml.compat.table import Verdict
from smartml.errors import PathNotFoundError

IMPORT = "from smartsim import Experiment\n"


def write(folder, **files):
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text) if isinstance(text, str) else file.write_bytes(text)
    return folder


def files_of(project):
    return {file.path: [use.line for use in file.uses] for file in project.files}


def test_every_kind_of_file_is_read(tmp_path):
    cell = {"cell_type": "code", "source": ["%time x\n", IMPORT]}
    texts = {
        "driver.py": "#!/usr/bin/env python\n" + IMPORT,
        "book.ipynb": json.dumps({"cells": [{"cell_type": "markdown", "source": IMPORT}, cell, cell]}),
        "src/solver.cpp": '\n#include "client.h"\nusing namespace SmartRedis;',
        "src/solver.F90": "use smartredis_client",
        "src/CMakeLists.txt": "find_package(SmartRedis)",
        "src/find.cmake": "\nfind_library(x smartredis)",
        "Makefile": "LIBS=-lsmartredis",
        "requirements-dev.txt": "smartsim",
        "pyproject.toml": "\n\n'smartsim>=0.7'",
        "setup.py": "install_requires=['smartredis']",
        "job.slurm": "smart build",
        "Dockerfile": "FROM x\nRUN pip install smartsim",
        "notes.md": IMPORT,
    }
    project = read_project(write(tmp_path, **{name.replace("/", "__"): text for name, text in texts.items()}))

    assert files_of(project) == {
        "driver.py": [2],
        "book.ipynb": [2, 4],
        "src/solver.cpp": [2, 3],
        "src/solver.F90": [1],
        "src/CMakeLists.txt": [1],
        "src/find.cmake": [2],
        "Makefile": [1],
        "requirements-dev.txt": [1],
        "pyproject.toml": [3],
        "setup.py": [1],
        "job.slurm": [1],
        "Dockerfile": [2],
    }
    assert (project.unread, project.files_read) == ((), 12)


def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path):
    write(
        tmp_path,
        **{
            "broken.py": "def f(:\n",
            "good.py": IMPORT,
            "old.py": "print 'x'\n",
            "binary.py": b"\0\1\2",
            "book.ipynb": "{",
            "list.ipynb": "[]",
            "deep.py": "(" * 3000 + ")" * 3000,
            "long.c": b"/" * (5 * 1024 * 1024),
            "coded.py": b"# -*- coding: nonsense -*-\n",
        },
    )
    (tmp_path / "gone.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.py")

    project = read_project(tmp_path)

    assert list(files_of(project)) == ["good.py"]
    reasons = dict(project.unread)
    assert set(reasons) == {
        *("broken.py", "old.py", "binary.py", "book.ipynb", "list.ipynb", "deep.py", "long.c", "coded.py"),
        *("gone.py", "pipe.py"),
    }
    assert "line 1" in reasons["broken.py"]
    assert reasons["long.c"] == "it is longer than 4 MiB"
    assert reasons["pipe.py"] == "it is no plain file"
    assert all(reasons.values())


def test_letters_of_old_encodings_are_no_obstacle(tmp_path):
    write(
        tmp_path,
        **{
            "a.py": b"# -*- coding: latin-1 -*-\n# \xe9t\xe9\n" + IMPORT.encode(),
            "b.f90": b"! \xe9t\xe9\nuse smartredis_client\n",
            "c.py": b"\xef\xbb\xbf" + IMPORT.encode(),
        },
    )
    project = read_project(tmp_path)
    assert (files_of(project), project.unread) == ({"a.py": [3], "b.f90": [2], "c.py": [1]}, ())


def test_folders_of_others_are_left_out(tmp_path):
    names = (".git__a.py", "env__lib__a.py", "build__a.py", "x__site-packages__a.py", "__pycache____a.py", "mine__a.py")
    write(tmp_path, **dict.fromkeys(names, IMPORT))
    write(tmp_path, **{"env__pyvenv.cfg": "", "build__CMakeCache.txt": ""})
    (tmp_path / "again").symlink_to(tmp_path)

    assert list(files_of(read_project(tmp_path))) == ["mine/a.py"]


def test_odd_names_are_names(tmp_path):
    odd = 'a folder\'s [red]\n"name".py'
    write(tmp_path, **{odd: IMPORT})
    assert list(files_of(read_project(tmp_path))) == [odd]


def test_one_file_is_a_project(tmp_path):
    write(tmp_path, **{"a.py": IMPORT, "b.py": IMPORT})
    assert list(files_of(read_project(tmp_path / "a.py"))) == ["a.py"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(PathNotFoundError, match="is not there: name the folder of a project"):
        read_project(tmp_path / "nowhere")


def test_names_are_counted_once_each(tmp_path):
    dragon = "from smartsim.settings import DragonRunSettings\n"
    write(tmp_path, **{"a.py": IMPORT + "Experiment('x').start()\nExperiment('y').start()\n", "b.py": IMPORT})
    assert read_project(tmp_path).counts == {Verdict.UNCHANGED: 2, Verdict.BETTER: 0, Verdict.MISSING: 0}
    assert read_project(tmp_path).lacks_nothing

    write(tmp_path, **{"c.py": dragon})
    assert read_project(tmp_path).counts[Verdict.MISSING] == 1
    assert not read_project(tmp_path).lacks_nothing


def test_all_that_was_found_is_data(tmp_path):
    write(tmp_path, **{"a.py": "from smartsim.log import get_logger", "b.py": "("})
    assert json.loads(json.dumps(read_project(tmp_path).facts())) == {
        "files_read": 1,
        "files": [
            {
                "file": "a.py",
                "uses": [
                    {
                        "line": 1,
                        "name": "smartsim.log.get_logger",
                        "verdict": "better",
                        "ours": "logging.getLogger",
                        "reason": "smartml logs by the standard library's logging",
                    }
                ],
            }
        ],
        "unread": [{"file": "b.py", "reason": "'(' was never closed (line 1)"}],
        "names": {"unchanged": 0, "better": 1, "missing": 0},
    }


def test_an_empty_folder_needs_nothing(tmp_path):
    project = read_project(tmp_path)
    assert (project.files, project.files_read, project.lacks_nothing) == ((), 0, True)
