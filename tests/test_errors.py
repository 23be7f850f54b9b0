"""The tree of errors: drawn as it is, and usable as what each error also is."""

import builtins
import inspect
import pickle
import re

import pytest

from smartml import errors

CLASSES = [it for it in vars(errors).values() if inspect.isclass(it) and it.__module__ == errors.__name__]


def drawn():
    """Read the tree in the module's docstring: name, depth and the built-in second parent of each error."""
    lines = re.findall(r"^([│├└─ ]*)(\w+(?:Error|Exception))(?: \((\w+)\))?", errors.__doc__, re.MULTILINE)
    return [(name, len(branches) // 4, builtin) for branches, name, builtin in lines]


def test_every_error_is_drawn_once_under_its_parent():
    parents = {}
    above = {}
    for name, depth, _ in drawn():
        assert name not in parents
        parents[name] = above.get(depth - 1)
        above[depth] = name

    assert parents == {it.__name__: None if it is errors.SmartMLError else it.__bases__[0].__name__ for it in CLASSES}


def test_the_second_parent_is_the_built_in_that_is_drawn():
    for name, _, builtin in drawn():
        others = [base for base in getattr(errors, name).__bases__ if base.__module__ == "builtins"]
        if builtin:
            assert others == [getattr(builtins, builtin)]
        else:
            assert others in ([], [Exception])


@pytest.mark.parametrize("error", CLASSES, ids=lambda it: it.__name__)
def test_an_error_reads_as_its_message(error):
    assert str(error("no tensor 'a'")) == "no tensor 'a'"


@pytest.mark.parametrize("error", CLASSES, ids=lambda it: it.__name__)
def test_an_error_travels_between_processes(error):
    sent = error("no tensor 'a'")

    received = pickle.loads(pickle.dumps(sent))

    assert type(received) is error
    assert str(received) == str(sent)


@pytest.mark.parametrize("error", CLASSES, ids=lambda it: it.__name__)
def test_an_error_says_what_a_caller_may_do_or_what_is_wrong(error):
    assert error.__doc__.endswith(".")
    assert "\n" not in error.__doc__
