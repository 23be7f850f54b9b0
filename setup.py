"""Builds the tensor module, where a C compiler is there, and fetches uPlot, where npm is; all else is in setup.cfg."""

import runpy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

FOLDER = Path("smartml/store/module")
BUILD = runpy.run_path(str(FOLDER / "build.py"))
ASSETS = runpy.run_path("smartml/monitor/pages/assets.py")
MODULE = Extension(
    f"smartml.store.module.{Path(BUILD['FILE_NAME']).stem}",
    [str(FOLDER / name) for name in BUILD["SOURCES"]],
    # Without it only programs of SmartRedis are shut out; `smartml module build` makes up for it.
    optional=True,
)


class BuildModule(build_ext):
    """Compile with the recipe that `smartml module build` uses."""

    def get_ext_filename(self, fullname):
        # A plain shared object: it is loaded by Redis, not by Python.
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext):
        try:
            BUILD["compile_module"](Path(self.get_ext_fullpath(ext.name)).absolute())
        except BUILD["CompileError"] as error:
            raise CompileError(str(error)) from error


class FetchAssets(build_py):
    """Put what live pages draw with beside our own scripts, before files are collected."""

    def run(self):
        if not ASSETS["are_there"]():
            try:
                ASSETS["fetch"]()
            except ASSETS["FetchError"] as error:
                # Only live pages need it; `smartml monitor assets` makes up for it.
                self.warn(f"installing without {ASSETS['PACKAGE']}: {error}")
        super().run()


class Wheel(bdist_wheel):
    """One wheel for every Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(ext_modules=[MODULE], cmdclass={"build_ext": BuildModule, "build_py": FetchAssets, "bdist_wheel": Wheel})
