"""Errors of smartml that are those of another library as well, for `except` clauses that were written for that one.

An error that leaves a class which a `Translation` speaks for is made an instance of a class below both: the one of
smartml that was raised, and those of the other library that stand for it. Nothing of smartml itself is changed.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from smartml.errors import SmartMLError

P = ParamSpec("P")
Result = TypeVar("Result")
Kind = TypeVar("Kind", bound=type)
Table = Mapping[type[SmartMLError], tuple[type[Exception], ...]]


class Translated:
    """Marks the classes of errors that are of both libraries."""


class Translation:
    """A table of errors: by a class of smartml, those of the other library that an error of it shall also be."""

    def __init__(self, table: Table) -> None:
        self._table = dict(table)

    def with_rows(self, table: Table) -> "Translation":
        """Return another table, in which these rows come first."""
        return Translation({**self._table, **table})

    def translate(self, error: SmartMLError) -> SmartMLError:
        """Return the error as one of both libraries; itself, where it is translated already, or has no row."""
        kind = type(error)
        foreign = next((self._table[base] for base in kind.__mro__ if base in self._table), ())
        if issubclass(kind, Translated) or not foreign:
            return error
        translated = _joined(foreign, kind)(*error.args)
        translated.__dict__.update(error.__dict__)
        return translated

    def call(self, function: Callable[P, Result]) -> Callable[P, Result]:
        """Return the function, with its errors translated."""

        @functools.wraps(function)
        def translated(*args: P.args, **kwargs: P.kwargs) -> Result:
            try:
                return function(*args, **kwargs)
            except SmartMLError as error:
                found = self.translate(error)
                if found is error:
                    raise
                raise found.with_traceback(error.__traceback__) from error.__cause__

        return translated

    def speaks(self, kind: Kind) -> Kind:
        """Translate the errors of a class: of its public methods and properties, inherited from smartml or its own."""
        for name in dir(kind):
            if name.startswith("_") and name not in ("__init__", "__iter__", "__len__", "__getitem__"):
                continue
            found = inspect.getattr_static(kind, name)
            if isinstance(found, property):
                getter, setter = (None if part is None else self.call(part) for part in (found.fget, found.fset))
                setattr(kind, name, property(getter, setter, doc=found.__doc__))
            elif isinstance(found, classmethod | staticmethod):
                setattr(kind, name, type(found)(self.call(found.__func__)))
            elif inspect.isfunction(found) and found.__module__.partition(".")[0] in ("smartml", _top(kind)):
                setattr(kind, name, self.call(found))
        return kind


def _top(kind: type) -> str:
    return kind.__module__.partition(".")[0]


# The classes of errors that are of both libraries, each made when it is first raised.
_classes: dict[tuple[type, ...], type[SmartMLError]] = {}


def _joined(foreign: tuple[type[Exception], ...], kind: type[SmartMLError]) -> type[SmartMLError]:
    bases: tuple[type, ...] = (Translated, *foreign, kind)
    body = {
        "__module__": foreign[0].__module__,
        "__doc__": foreign[0].__doc__,
        # Made of its arguments alone, whatever the constructors of the other library ask for.
        "__init__": kind.__init__,
        "__str__": kind.__str__,
        "__reduce__": lambda error: (_rebuilt, (foreign, kind, error.args, error.__dict__)),
    }
    return _classes.get(bases) or _classes.setdefault(bases, type(foreign[0].__name__, bases, body))


def _rebuilt(
    foreign: tuple[type[Exception], ...], kind: type[SmartMLError], args: tuple[Any, ...], state: dict[str, Any]
) -> SmartMLError:
    error = _joined(foreign, kind)(*args)
    error.__dict__.update(state)
    return error
