"""`import smartml` needs nothing but what setup.cfg lists as its dependencies."""

import subprocess
import sys

import pytest

OPTIONAL = [
    *("torch", "keras", "tensorflow", "jax", "mpi4py", "smartredis", "dask", "distributed"),
    *(
        "matplotlib",
        "xarray",
        "zarr",
        "ml_dtypes",
        "pandas",
        "bokeh",
        "grpc",
        "google.protobuf",
        "fsspec",
        "yaml",
        "tornado",
    ),
    *(
        "msgpack",
        "tqdm",
        "numba",
        "websockets",
        "msgspec",
        "pybase64",
        "PIL",
        "pydantic",
        "tokenizers",
        "sklearn",
        "fastapi",
        "prometheus_client",
        "uvicorn",
        "pytest",
        "hypothesis",
    ),
]

# Fails every import of an optional package as if it were not installed, and lists what was tried.
BLOCKER = f"""
import sys

OPTIONAL = {OPTIONAL!r}
tried = []

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == package or name.startswith(package + ".") for package in OPTIONAL):
            tried.append(name)
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run(code):
    """Run code in a new interpreter without any optional package; return what it prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKER + code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "module",
    [
        "smartml",
        "smartml.store",
        "smartml.feeds",
        "smartml.inference",
        "smartml.pipeline",
        "smartml.experiment",
        "smartml.monitor",
        "smartml.monitor.pages",
        "smartml.streaming",
        "smartml.compat",
        "smartml.cli",
        *("smartml", "smartml.store", "smartml.feeds", "smartml.pipeline", "smartml.experiment"),
        *("smartml.streaming", "smartml.training", "smartml.serving", "smartml.cli"),
    ],
)
def test_importing_asks_for_no_optional_package(module):
    # redis looks for packages of its own (a faster parser, telemetry); what we ask for ourselves is what counts.
    assert run(f"import {module}; print(*tried)") == [""]


@pytest.mark.parametrize("module", ["smartml", "smartml.pipeline", "smartml.streaming", "smartml.training"])
def test_what_takes_long_to_import_is_left_until_it_is_used(module):
    slow = ("numpy", "redis", "rich", "psutil", "asyncio", "multiprocessing")
    assert run(f"import sys, {module}; print(*(name for name in {slow} if name in sys.modules))") == [""]


def test_rooms_and_names_are_there_when_they_are_asked_for():
    code = """
import smartml
print(smartml.pipeline.IterableSource, smartml.errors.SmartMLError, "Client" in dir(smartml))
from smartml import *
print(Client, hasattr(smartml, "nothing"), hasattr(smartml.pipeline, "nothing"))
"""
    first, second = run(code)
    assert first.startswith("<class 'smartml.pipeline.sources.IterableSource'>")
    assert second == "<class 'smartml.store.client.Client'> False False"


def test_importing_starts_no_thread_and_no_process_and_configures_no_logging():
    code = """
import logging, threading
import psutil
import smartml
print(threading.active_count(), len(psutil.Process().children()), logging.getLogger().handlers)
print(logging.getLogger("smartml").handlers)
"""
    assert run(code) == ["1 0 []", "[]"]


@pytest.mark.parametrize(("module", "extra"), [("torch", "torch"), ("keras", "keras")])
def test_a_framework_that_is_not_installed_is_named_with_its_extra(module, extra):
    code = f"""
from smartml.errors import MissingDependencyError
try:
    import smartml.feeds.{module}
except MissingDependencyError as error:
    print(error)
"""
    [line] = run(code)
    assert f"needs the package '{module}'" in line
    assert f'pip install "smartml[{extra}]"' in line


@pytest.mark.parametrize(("name", "package"), [("serve", "msgspec"), ("WebSocketSource", "msgspec")])
def test_streaming_without_its_packages_names_the_extra(name, package):
    code = f"""
from smartml.errors import MissingDependencyError
import smartml.streaming
try:
    smartml.streaming.{name}
except MissingDependencyError as error:
    print(error)
"""
    assert run(code) == [f"smartml.streaming needs the package '{package}': pip install \"smartml[streaming]\""]


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("create_app", "fastapi", "serving"), ("Server", "uvicorn", "serving"), ("predict_files", "torch", "training")],
)
def test_what_serving_lacks_is_named_with_its_extra(name, package, extra):
    code = f"""
import smartml.serving
from smartml.errors import MissingDependencyError
try:
    smartml.serving.{name}
except MissingDependencyError as error:
    print(error)
"""
    [line] = run(code)
    assert f'pip install "smartml[{extra}]"' in line
    assert "needs the package" in line and line.split("'")[1] == package


@pytest.mark.parametrize("name", ["SplitByRank", "SplitByWorker", "TorchIterable"])
def test_a_lazy_name_whose_framework_is_not_installed_names_the_extra(name):
    code = f"""
from smartml.errors import MissingDependencyError
from smartml.pipeline import IterableSource
for use in (lambda: getattr(__import__("smartml.pipeline").pipeline, "{name}"), IterableSource().to_torch_iterable):
    try:
        use()
    except MissingDependencyError as error:
        print(error)
"""
    assert run(code) == ["reading streams in PyTorch needs the package 'torch': pip install \"smartml[torch]\""] * 2
