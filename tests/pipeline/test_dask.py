"""Calls that dask describes, and computes."""

import sys

import pytest

from smartml.errors import MissingDependencyError
from smartml.pipeline import IterableSource


def add(x, number=1):
    return x + number


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)

    with pytest.raises(MissingDependencyError, match=r"smartml\[dask\]"):
        IterableSource([1]).dask_map(add).collect()


def test_calls_are_described_and_then_computed_in_order():
    dask = pytest.importorskip("dask")
    seen = []

    described = IterableSource([1, 2]).dask_map(lambda x: seen.append(x) or x).dask_map(add, number=10)

    assert all(dask.is_dask_collection(item) for item in described)
    assert seen == []
    assert described.materialize_dask(max_workers=1).collect() == [11, 12]
    assert sorted(seen) == [1, 2]


def test_other_items_pass_as_they_are():
    assert IterableSource([1, "a", [2]]).materialize_dask().collect() == [1, "a", [2]]


def test_an_error_comes_at_its_item():
    pytest.importorskip("dask")
    begun = iter(IterableSource([1, 0]).dask_map(lambda x: 1 / x).materialize_dask())

    assert next(begun) == 1
    with pytest.raises(ZeroDivisionError) as caught:
        next(begun)
    assert caught.value.item_index == 1
