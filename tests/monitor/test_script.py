"""Records for scripts: the calls of streamvis, and one function for paths and addresses."""

import asyncio

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, RecordsFormatError, RecordsInUseError, RecordsNotFoundError
from smartml.monitor import DataLogger, Removal, script


@pytest.fixture
def filled(server):
    for scope, values in (("second", [1, 2]), ("first", [3])):
        with DataLogger(scope, grpc_uri=server.address) as log:
            log.write_config({"values": values})
            log.write("b", x=values, y=0.5)
            log.write("a", x=[[1], [2]])
    return server


def by_kind(filled, store):
    return {"path": str(store), "path of streamvis": f"{store}.log", "address": filled.address}


@pytest.fixture(params=["path", "path of streamvis", "address"])
def source(request, filled, store):
    return by_kind(filled, store)[request.param]


def test_every_function_takes_a_path_or_an_address(source):
    assert script.scopes(source) == ["second", "first"]
    assert script.names(source, "second") == ["b", "a"]
    assert list(script.export(source)) == [
        (scope, name, index) for scope in ("second", "first") for name, index in (("b", 0), ("a", 0), ("a", 1))
    ]
    assert list(script.export(source, "first")) == [("first", "b", 0), ("first", "a", 0), ("first", "a", 1)]
    [fields] = script.export(source, "second", "b").values()
    assert {field: (values.dtype.name, values.tolist()) for field, values in fields.items()} == {
        "x": ("int64", [1, 2]),
        "y": ("float64", [0.5, 0.5]),
    }
    assert script.export(source, name="b").keys() == {("second", "b", 0), ("first", "b", 0)}
    assert script.config(source, "first") == {"first": [{"values": [3]}]}
    assert script.counts(source)["second", "b", 0] == 2
    with pytest.raises(RecordsNotFoundError, match="no scope called 'third'; there is: 'second', 'first'"):
        script.names(source, "third")


def test_the_calls_of_streamvis_are_there(filled, store):
    uri = filled.address
    assert script.gscopes(uri=uri) == script.scopes(path=str(store)) == ["second", "first"]
    assert script.gnames(uri=uri, scope="first") == script.names(path=str(store), scope="first") == ["b", "a"]
    everything = script.export(path=str(store))
    for found in (script.gfetch_sync(uri=uri), asyncio.run(script.gfetch(uri)), script.fetch(uri)):
        assert found.keys() == everything.keys()
    assert script.gfetch_sync(uri, "first", "a").keys() == {("first", "a", 0), ("first", "a", 1)}


def test_what_is_new_is_fetched_with_the_cursor_of_before(filled, source):
    before = script.fetch_updates(source, scope="first")
    assert len(before.added) == 3
    with DataLogger("first", False, grpc_uri=filled.address) as log:
        log.write("b", x=4, y=1.0)
    with DataLogger("second", grpc_uri=filled.address) as log:
        log.write("b", x=9, y=1.0)
    after = script.fetch_updates(source, before.cursor, scope="first")
    assert {group: fields["x"].tolist() for group, fields in after.added.items()} == {("first", "b", 0): [4]}
    assert (after.removed, after.reset) == ([], False)
    script.delete(filled.address, "first")
    assert script.fetch_updates(source, after.cursor, scope="first").removed == [Removal("first")]


def test_only_the_server_deletes_while_there_is_one(filled, store):
    with pytest.raises(RecordsInUseError):
        script.delete(store, "first")
    script.delete(filled.address, "first")
    script.delete(filled.address, "second", "a")
    filled.stop()
    script.delete(store, "second", "b")
    before, after = script.compact(store)
    assert after < before
    assert script.export(store) == {}


def test_tables_and_datasets_are_made_on_request(source):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    frame = script.export_frame(source, "second")
    assert frame.index.names == ["scope", "name", "index", "point"]
    assert frame.loc[("second", "b", 0)]["x"].tolist() == [1, 2]
    assert isinstance(frame, pandas.DataFrame)
    assert script.export_frame(source, "none").empty
    dataset = script.export_xarray(source, "second", "b")["second", "b", 0]
    assert dataset.sizes == {"point": 2}
    assert np.array_equal(dataset["x"], [1, 2])
    assert dataset.attrs == {"scope": "second", "name": "b", "index": 0}


def test_what_is_asked_for_wrongly_is_said(tmp_path):
    with pytest.raises(ArgumentTypeError, match="either a path or a uri"):
        script.scopes()
    with pytest.raises(ArgumentTypeError, match="either a path or a uri"):
        script.scopes("a", uri="b:1")
    with pytest.raises(ArgumentTypeError, match="needs a scope"):
        script.names("a")
    with pytest.raises(RecordsFormatError):
        script.export(tmp_path / "none")


def test_a_folder_may_look_like_an_address(server, tmp_path, monkeypatch):
    with DataLogger("run", grpc_uri=server.address) as log:
        log.write("a", x=1)
    server.stop()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "records").rename("odd:1")
    assert script.scopes("odd:1") == ["run"]
