"""The folder of a database: what an earlier run has left there."""

import pytest

from smartml.errors import ArgumentValueError
from smartml.experiment.cluster import Shape
from smartml.experiment.folder import DatabaseFolder


def addresses(shape, first=7000):
    return [("127.0.0.1", first + index) for index in range(shape.size)]


@pytest.fixture
def folder(tmp_path):
    return DatabaseFolder(tmp_path, "db")


def ids(folder, kind):
    return {line.split()[0] for file in folder.path.glob(f"db_?.{kind}") for line in file.read_text().splitlines()[:3]}


def test_a_cluster_that_is_kept_stays_the_same_at_other_ports(folder):
    folder.write_nodes_files(Shape(3), addresses(Shape(3)), is_kept=True)
    before = ids(folder, "nodes")

    folder.write_nodes_files(Shape(3), addresses(Shape(3), first=8000), is_kept=True)

    assert ids(folder, "nodes") == before
    assert "127.0.0.1:8002@18002 myself,master" in (folder.path / "db_2.nodes").read_text()


def test_a_cluster_that_is_not_kept_is_new_each_time_and_touches_nothing_kept(folder):
    folder.write_nodes_files(Shape(3), addresses(Shape(3)), is_kept=True)
    kept = ids(folder, "nodes")

    folder.write_nodes_files(Shape(4), addresses(Shape(4)), is_kept=False)
    before = ids(folder, "once.nodes")
    folder.write_nodes_files(Shape(4), addresses(Shape(4)), is_kept=False)

    assert not ids(folder, "once.nodes") & before
    assert ids(folder, "nodes") == kept


@pytest.mark.parametrize(
    ("there", "asked", "advice"),
    [
        (Shape(3), Shape(), "db_nodes=3, replicas=0"),
        (Shape(3), Shape(5), "db_nodes=3, replicas=0"),
        (Shape(6), Shape(3, replicas=1), "db_nodes=6, replicas=0"),
        (Shape(3, replicas=1), Shape(3), "db_nodes=3, replicas=1"),
    ],
    ids=str,
)
def test_data_of_another_shape_is_refused_and_left_alone(folder, there, asked, advice):
    folder.write_nodes_files(there, addresses(there), is_kept=True)
    before = {file: file.read_text() for file in folder.path.iterdir()}

    with pytest.raises(ArgumentValueError, match=rf"holds the data of a cluster with .* use {advice}, or another path"):
        folder.write_nodes_files(asked, addresses(asked), is_kept=True)

    assert {file: file.read_text() for file in folder.path.iterdir()} == before


@pytest.mark.parametrize("name", ["db.rdb", "db.aof", "appendonlydir/db.aof.manifest"])
def test_data_of_a_single_server_is_not_taken_over_by_a_cluster(folder, name):
    (folder.path / name).parent.mkdir(exist_ok=True)
    (folder.path / name).write_text("")
    with pytest.raises(ArgumentValueError, match=r"holds the data of a single server.* use db_nodes=1"):
        folder.write_nodes_files(Shape(3), addresses(Shape(3)), is_kept=True)


def test_a_lost_or_damaged_file_of_a_cluster_is_named(folder):
    folder.write_nodes_files(Shape(3), addresses(Shape(3)), is_kept=True)
    (folder.path / "db_1.nodes").unlink()
    with pytest.raises(ArgumentValueError, match=r"cannot be read \(db_0.nodes, db_2.nodes: they do not belong"):
        folder.write_nodes_files(Shape(3), addresses(Shape(3)), is_kept=True)


def test_a_single_server_needs_no_such_file(folder):
    folder.write_nodes_files(Shape(), addresses(Shape()), is_kept=True)
    assert list(folder.path.iterdir()) == []


def test_the_nodes_of_another_database_in_the_folder_do_not_count(folder):
    folder.write_nodes_files(Shape(3), addresses(Shape(3)), is_kept=True)
    DatabaseFolder(folder.path, "d").write_nodes_files(Shape(4), addresses(Shape(4)), is_kept=True)
    assert len(list(folder.path.glob("d_?.nodes"))) == 4
