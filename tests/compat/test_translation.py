"""Errors that are those of two libraries."""

import pickle

import pytest

from smartml.compat.translation import Translation
from smartml.errors import ArgumentValueError, NotFoundError, PathNotFoundError, SmartMLError, TensorNotFoundError


class TheirError(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)


class MissingError(TheirError):
    pass


TABLE = Translation({SmartMLError: (TheirError,), NotFoundError: (MissingError,)})


class Store:
    @property
    def size(self):
        raise ArgumentValueError("no size")

    def get(self, name: str = "a") -> None:
        """Get it."""
        raise TensorNotFoundError(f"no {name}")

    @classmethod
    def made(cls):
        raise PathNotFoundError("no file")

    def fail(self):
        raise OSError("not ours")

    def _inner(self):
        raise ArgumentValueError("inner")


@TABLE.speaks
class TheirStore(Store):
    def __init__(self, *, is_broken=False):
        if is_broken:
            raise ArgumentValueError("broken")


# The test's own classes count as of the translated class's package.
@pytest.fixture
def store():
    return TheirStore()


@pytest.mark.parametrize("kind", [MissingError, TheirError, TensorNotFoundError, NotFoundError, KeyError, SmartMLError])
def test_an_error_is_caught_by_either_librarys_class(store, kind):
    with pytest.raises(kind, match="no b") as caught:
        store.get("b")
    assert type(caught.value).__name__ == "MissingError"
    assert str(caught.value) == "no b"


@pytest.mark.parametrize(
    ("act", "kinds"),
    [
        (lambda store: store.size, (TheirError, ArgumentValueError, ValueError)),
        (lambda store: store.made(), (TheirError, PathNotFoundError, FileNotFoundError)),
        (lambda store: TheirStore(is_broken=True), (TheirError, ArgumentValueError)),
    ],
)
def test_properties_class_methods_and_constructors_are_translated(store, act, kinds):
    for kind in kinds:
        with pytest.raises(kind):
            act(store)


def test_what_is_not_ours_and_what_is_not_public_stays_as_it_is(store):
    with pytest.raises(OSError) as caught:
        store.fail()
    assert type(caught.value) is OSError
    with pytest.raises(ArgumentValueError) as caught:
        store._inner()
    assert not isinstance(caught.value, TheirError)


def test_the_class_that_is_derived_from_is_not_changed():
    with pytest.raises(TensorNotFoundError) as caught:
        Store().get()
    assert type(caught.value) is TensorNotFoundError
    assert TheirStore.get.__doc__ == "Get it."


def test_an_error_is_translated_once(store):
    again = Translation({SmartMLError: (RuntimeError,)}).call(store.get)
    with pytest.raises(MissingError) as caught:
        again()
    assert not isinstance(caught.value, RuntimeError)


def test_rows_of_a_call_come_before_those_of_the_table():
    def refuse():
        raise ArgumentValueError("no")

    with pytest.raises(MissingError):
        TABLE.with_rows({ArgumentValueError: (MissingError,)}).call(refuse)()


def test_a_translated_error_travels_between_processes(store):
    with pytest.raises(MissingError) as caught:
        store.get()
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(arrived, MissingError) and isinstance(arrived, TensorNotFoundError)
    assert str(arrived) == "no a"


def test_the_traceback_leads_to_where_it_was_raised(store):
    with pytest.raises(MissingError) as caught:
        store.get()
    assert [entry.name for entry in caught.traceback][-1] == "get"
    assert caught.value.__cause__ is None
