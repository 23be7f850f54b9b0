"""What is installed: versions and paths of smartml, its packages, the server and the module; and which extras are."""

import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import smartml
from smartml.errors import ServerStartError
from smartml.experiment.server import find_server
from smartml.store.module import find_module

# Extras that only gather others, or serve those who work on smartml itself.
_NOT_FOR_USERS = ("all", "test")

# A requirement as packages state theirs (PEP 508): `torch>=2.2; python_version < "3.12" and extra == "torch"`.
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"""extra == ['"]([\w.-]+)['"]""")
_PYTHON = re.compile(r"""python_version (?P<sign><=|>=|==|<|>) ['"](?P<version>[\d.]+)['"]""")


@dataclass(frozen=True)
class Extra:
    """An optional part of smartml, and what it needs."""

    name: str
    # The version of each package that is there, None for one that is not.
    packages: Mapping[str, str | None]

    @property
    def is_there(self) -> bool:
        """True when all that it needs is installed."""
        return None not in self.packages.values()


def describe_installation() -> dict[str, Any]:
    """Return what is installed, in words and paths: versions, core packages, extras, server, module."""
    module = find_module()
    return {
        "smartml": smartml.__version__,
        "path": str(Path(smartml.__file__).parent),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "system": platform.platform(),
        "server": describe_server(),
        "tensor module": None if module is None else str(module),
        "packages": _version_by_name(_names(None)),
        "extras": {extra.name: dict(extra.packages) for extra in find_extras()},
    }


def describe_server() -> dict[str, str] | None:
    """Return path and version of the server that databases run; None where there is none."""
    try:
        program = find_server()
    except ServerStartError:
        return None
    return {"path": str(program), "version": server_version(program)}


def server_version(program: Path) -> str:
    """Return what a server says of itself: `Redis 7.0.15`; "unknown" when it does not."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    # "Redis server v=7.0.15 sha=...", "Valkey server v=9.0.0 sha=..."
    found = re.search(r"(\w+) server v=(\S+)", said)
    return f"{found[1]} {found[2]}" if found else "unknown"


def find_extras() -> list[Extra]:
    """Return the optional parts of smartml, sorted; none where it was not installed as a package."""
    by_name = {name: _version_by_name(_names(name)) for name in sorted(_extras())}
    return [Extra(name, packages) for name, packages in by_name.items() if packages]


def _requirements() -> list[str]:
    try:
        return metadata.requires("smartml") or []
    except metadata.PackageNotFoundError:
        return []


def _extras() -> set[str]:
    found = {match[1] for text in _requirements() for match in _EXTRA.finditer(text)}
    return found - set(_NOT_FOR_USERS)


def _names(extra: str | None) -> Iterator[str]:
    """Name the packages that an extra needs on this Python, or for None those that all need."""
    for text in _requirements():
        match = _REQUIREMENT.match(text)
        assert match is not None, "an installed package has requirements that pip could read"
        marker = match["marker"] or ""
        of = _EXTRA.search(marker)
        if (of[1] if of else None) == extra and _is_for_this_python(marker):
            yield match["name"]


def _is_for_this_python(marker: str) -> bool:
    for condition in _PYTHON.finditer(marker):
        wanted = tuple(int(part) for part in condition["version"].split("."))
        have = sys.version_info[: len(wanted)]
        holds = {
            "<": have < wanted,
            "<=": have <= wanted,
            "==": have == wanted,
            ">=": have >= wanted,
            ">": have > wanted,
        }
        if not holds[condition["sign"]]:
            return False
    return True


def _version_by_name(names: Iterator[str]) -> dict[str, str | None]:
    return {name: package_version(name) for name in names}


def package_version(name: str) -> str | None:
    """Return the version of an installed package, None where it is not."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
