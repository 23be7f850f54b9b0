"""Functions called from what numba compiled."""

import sys

import pytest

from smartml.errors import MissingDependencyError
from smartml.pipeline import IterableSource


def test_without_numba_the_extra_is_named(monkeypatch):
    from smartml.pipeline import numba

    monkeypatch.setitem(sys.modules, "numba", None)
    numba._compiled.cache_clear()

    with pytest.raises(MissingDependencyError, match=r"smartml\[numba\]"):
        IterableSource([1]).numba_map(str).collect()


def test_numba_map_gives_what_map_gives():
    pytest.importorskip("numba")
    items = [1, 2.5, "a", [3], {"k": 4}]

    chain = IterableSource(items).numba_map(lambda x: (x, type(x)))

    assert chain.collect() == chain.collect() == IterableSource(items).map(lambda x: (x, type(x))).collect()
    assert IterableSource([]).numba_map(str).collect() == []


def test_an_error_comes_at_its_item():
    pytest.importorskip("numba")
    begun = iter(IterableSource([1, 0]).numba_map(lambda x: 1 / x))

    assert next(begun) == 1
    with pytest.raises(ZeroDivisionError):
        next(begun)


def test_a_pass_may_stop_early():
    pytest.importorskip("numba")

    assert IterableSource(range(10)).numba_map(str).take(2).collect() == ["0", "1"]
