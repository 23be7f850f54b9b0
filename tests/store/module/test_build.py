"""Where the module comes from: built with the package, by hand, or not at all."""

import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from smartml import Client, Orchestrator
from smartml.errors import TensorModuleError
from smartml.store import module
from smartml.store.module import build_module, find_module

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (apt-get install gcc)")
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(module.MODULE_VARIABLE, raising=False)
    monkeypatch.delenv("CC", raising=False)


@needs_compiler
def test_the_package_was_installed_with_its_module():
    assert find_module() == Path(module.__file__).with_name("smartml_tensors.so")


@needs_compiler
def test_the_sources_compile_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "cc -Werror -Wconversion -Wshadow -Wstrict-prototypes -pedantic")

    assert build_module(tmp_path / "new" / "module.so") == tmp_path / "new" / "module.so"


@needs_compiler
def test_a_module_built_elsewhere_is_named_by_the_environment(tmp_path, monkeypatch):
    built = build_module(tmp_path / "it's a module.so")
    monkeypatch.setenv(module.MODULE_VARIABLE, str(built))

    with Orchestrator(port=0) as db, Client(address=db.address) as client:
        client.put_tensor("t", np.zeros(2, "f4"))
        assert client.database.command("AI.TENSORGET", "t", "META")[1] == b"FLOAT"


def test_a_module_that_is_named_but_not_there_is_an_error(monkeypatch):
    monkeypatch.setenv(module.MODULE_VARIABLE, "/nowhere/module.so")

    with pytest.raises(TensorModuleError, match="SMARTML_TENSOR_MODULE names does not exist: /nowhere/module"):
        Orchestrator(port=0).start()


def test_a_database_without_the_module_says_in_one_line_what_is_missing(monkeypatch, caplog):
    monkeypatch.setenv(module.MODULE_VARIABLE, "none")

    with caplog.at_level(logging.WARNING), Orchestrator(port=0):
        assert [record.getMessage() for record in caplog.records] == [
            "database orchestrator has no tensor module, which programs of SmartRedis need: "
            "build it by `smartml module build`"
        ]


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("no-such-cc", "the compiler that CC names is not found: no-such-cc"), ("false", "false .* failed")],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch, compiler, reason):
    monkeypatch.setenv("CC", compiler)

    with pytest.raises(TensorModuleError, match=f"the tensor module was not built: {reason}"):
        build_module(tmp_path / "module.so")
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_the_error_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(TensorModuleError, match=r"no C compiler is found .*`apt-get install gcc`"):
        build_module(tmp_path / "module.so")


@needs_compiler
def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(TensorModuleError, match=r"file/module\.so cannot be written"):
        build_module(tmp_path / "file" / "module.so")


@needs_compiler
@pytest.mark.parametrize(("compiler", "has_module"), [("cc", True), ("false", False)])
def test_a_wheel_holds_the_module_and_its_sources_or_the_sources_alone(tmp_path, monkeypatch, compiler, has_module):
    pytest.importorskip("setuptools", "77")
    monkeypatch.setenv("CC", compiler)
    copy = tmp_path / "smartml"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "*.so", "build", "*.egg-info", "tests"))
    for name in ("pyproject.toml", "setup.py", "setup.cfg"):
        assert (copy / name).exists()

    code = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)

    (wheel,) = (copy / "dist").iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name.split("-", 2)[2].startswith("py3-none-linux")
    assert {f"smartml/store/module/{name}" for name in ("layout.c", "layout.h", "module.c", "redis_api.h")} <= set(
        names
    )
    assert ("smartml/store/module/smartml_tensors.so" in names) == has_module
