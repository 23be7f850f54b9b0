"""The public names of every package: each exists, is listed once, and in the order that ruff's RUF022 keeps."""

import ast
import importlib
import pkgutil

import pytest

import smartml
from smartml.errors import MissingDependencyError


def packages():
    found = pkgutil.walk_packages(smartml.__path__, "smartml.")
    # The tutorials travel in the package, but are scripts to read, not names to import.
    return ["smartml", *(it.name for it in found if it.ispkg and not it.name.startswith("smartml.tutorials"))]


def isort_order(name):
    """CONSTANTS, then Classes, then the others."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name


def imported(name):
    try:
        return importlib.import_module(name)
    except MissingDependencyError as error:
        pytest.skip(str(error))


def is_there(package, name):
    try:
        return hasattr(package, name)
    except MissingDependencyError:
        # It is, with the extra that the error names.
        return True


def test_the_rooms_are_found():
    rooms = {"compat", "experiment", "feeds", "monitor", "pipeline", "store", "streaming"}
    assert {"smartml", *(f"smartml.{room}" for room in rooms)} <= set(packages())


@pytest.mark.parametrize("name", packages())
def test_public_names_exist_once_and_in_order(name):
    package = imported(name)
    listed = getattr(package, "__all__", [])

    assert [public for public in listed if not is_there(package, public)] == []
    assert listed == sorted(set(listed), key=isort_order)


@pytest.mark.parametrize("name", packages())
def test_what_a_package_imports_from_its_own_files_is_public(name):
    package = imported(name)
    with open(package.__file__, encoding="utf-8") as file:
        # Also what is imported for type checkers alone, since it is imported for others when it is first used.
        statements = ast.walk(ast.parse(file.read()))
    taken = [
        alias.asname or alias.name
        for statement in statements
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("smartml")
        for alias in statement.names
    ]

    public = [name for name in taken if name == "__version__" or not name.startswith("_")]
    assert sorted(public) == sorted(getattr(package, "__all__", []))
