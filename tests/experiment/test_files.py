"""Files put into the folders of programs."""

import json
import os
import stat

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, PathExistsError, PathNotFoundError, PlacementError
from smartml.experiment.files import attach_files, configure, place_files, remove_folder
from smartml.experiment.generated import PlacedFile, index_file, write_index


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The current folder, with a few files."""
    folder = tmp_path / "source"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "in.txt").write_text("T = ;T;")
    (folder / "data" / "a").write_text("a ;T;")
    (folder / "data" / "deep" / "b").write_text("b ;T;")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target"


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_tag_becomes_the_value_of_its_parameter():
    assert configure("THERMO = ;THERMO;", {"THERMO": "20"}) == ("THERMO = 20", {"THERMO": [1]}, [])


@pytest.mark.parametrize(
    ("text", "written", "defaults"),
    [
        ("x = ;a; y = ;b;", "x = a y = 5", [(1, "a")]),
        ("first\nx = ;10;", "first\nx = 10", [(2, "10")]),
        ("stop; x = ;b;", "stop; x = 5", []),
        ("int i; int j;", "int i; int j;", []),
        (";b;;b;", "55", []),
        ("", "", []),
        ("\n;b;\n;c;\n\n;d;", "\n5\nc\n\nd", [(3, "c"), (5, "d")]),
    ],
)
def test_a_tag_without_a_parameter_keeps_its_word_and_is_told_with_its_line(text, written, defaults):
    assert configure(text, {"b": "5"})[::2] == (written, defaults)


@pytest.mark.parametrize("tag", ["@", "@@", "$", ".*", "("])
def test_any_tag_will_do(tag):
    assert configure(f"x = {tag}b{tag}, {tag}c{tag}", {"b": "5"}, tag) == ("x = 5, c", {"b": [1]}, [(1, "c")])


def test_values_are_not_searched_for_tags():
    assert configure(";a; ;b;", {"a": ";b;", "b": "5"})[0] == ";b; 5"


def test_files_and_contents_of_folders_are_placed(source, target):
    place_files(attach_files(to_copy=["in.txt", "data"]), target, {})
    assert tree(target) == ["a", "deep/b", "in.txt"]
    assert (target / "in.txt").read_text() == "T = ;T;"


def test_links_lead_to_the_source(source, target):
    place_files(attach_files(to_symlink=["in.txt", "data"]), target, {})
    assert (target / "in.txt").readlink() == source / "in.txt"
    assert (target / "data" / "deep" / "b").exists()


def test_files_to_configure_get_the_values(source, target):
    place_files(attach_files(to_configure=["in.txt", "data"]), target, {"T": "300"})
    assert (target / "in.txt").read_text() == "T = 300"
    assert (target / "deep" / "b").read_text() == "b 300"


def test_what_was_placed_before_is_replaced(source, target):
    for text in ("old", "new"):
        (source / "in.txt").write_text(text)
        place_files(attach_files(to_copy="in.txt", to_symlink="data"), target, {})
    assert (target / "in.txt").read_text() == "new"


def test_a_copy_over_an_earlier_link_leaves_the_source_alone(source, target):
    place_files(attach_files(to_symlink="in.txt"), target, {})
    place_files(attach_files(to_configure="in.txt"), target, {"T": "300"})
    assert (source / "in.txt").read_text() == "T = ;T;"
    assert (target / "in.txt").read_text() == "T = 300"


def test_a_program_may_run_where_its_files_lie(source):
    place_files(attach_files(to_copy="in.txt"), source, {})
    assert (source / "in.txt").read_text() == "T = ;T;"


def test_a_file_to_configure_where_it_lies_is_refused(source):
    with pytest.raises(PathExistsError, match="would overwrite the file itself"):
        place_files(attach_files(to_configure="in.txt"), source, {"T": "300"})
    assert (source / "in.txt").read_text() == "T = ;T;"


def test_a_link_over_a_file_is_refused(source, target):
    target.mkdir()
    (target / "in.txt").write_text("mine")
    with pytest.raises(PathExistsError, match="in the way"):
        place_files(attach_files(to_symlink="in.txt"), target, {})
    assert (target / "in.txt").read_text() == "mine"


def test_programs_stay_executable_and_bytes_stay_bytes(source, target):
    (source / "run").write_bytes(b"\xff\r\n;T;\n\x00")
    (source / "run").chmod(0o755)
    place_files(attach_files(to_configure="run"), target, {"T": "1"})
    assert (target / "run").read_bytes() == b"\xff\r\n1\n\x00"
    assert os.stat(target / "run").st_mode & stat.S_IXUSR


def test_unknown_tags_and_unused_parameters_are_warned_about(source, target, caplog):
    place_files(attach_files(to_configure="in.txt"), target, {"P": "1"})
    assert f"{source / 'in.txt'}, line 1: no parameter is named 'T'" in caplog.text
    assert f"parameter 'P' (1) is not used: no ;P; in {source / 'in.txt'}" in caplog.text


def test_a_parameter_that_is_an_argument_needs_no_tag(source, target, caplog):
    place_files(attach_files(to_configure="in.txt"), target, {"T": "1", "P": "1"}, used_elsewhere=["P"])
    assert caplog.text == ""


def test_odd_names_are_placed(source, odd_path):
    (source / 'it\'s\n"odd"').write_text("x")
    place_files(attach_files(to_copy='it\'s\n"odd"'), odd_path / "target", {})
    assert tree(odd_path / "target") == ['it\'s\n"odd"']


def test_relative_paths_mean_the_folder_of_that_moment(source, target, tmp_path, monkeypatch):
    files = attach_files(to_copy="in.txt")
    monkeypatch.chdir(tmp_path)
    place_files(files, target, {})
    assert tree(target) == ["in.txt"]


def test_wrong_attachments_are_refused_at_once(source):
    with pytest.raises(PathNotFoundError, match="there is no such file"):
        attach_files(to_copy="none.txt")
    with pytest.raises(ArgumentTypeError, match="got int: 5"):
        attach_files(to_copy=["in.txt", 5])
    with pytest.raises(ArgumentTypeError, match="got int: 5"):
        attach_files(to_copy=5)
    with pytest.raises(ArgumentValueError, match=r"would both be 'in.txt'"):
        attach_files(to_copy="in.txt", to_symlink=source / "in.txt")


def test_what_was_placed_is_told_with_its_lines(source, target):
    (source / "in.txt").write_text(";T;\n;U;\n;T; ;U;")
    placed = place_files(attach_files("data/a", "data", "in.txt"), target, {"T": "1"})
    assert placed == [
        PlacedFile("a", str(source / "data/a"), "copy"),
        PlacedFile("data", str(source / "data"), "symlink"),
        PlacedFile("in.txt", str(source / "in.txt"), "configure", {"T": [1, 3]}, {"U": [2, 3]}),
    ]


def test_the_index_replaces_that_of_an_earlier_time_and_no_file_behind_a_link(source, target):
    target.mkdir()
    file = index_file(target, "model")
    file.symlink_to(source / "in.txt")
    write_index(file, place_files(attach_files("data/a"), target, {}), {"T": "1"}, ";")
    assert (source / "in.txt").read_text() == "T = ;T;"
    found = json.loads(file.read_text())
    assert (found["params"], found["tag"], found["files"][0]["path"]) == ({"T": "1"}, ";", "a")


def test_links_in_a_folder_to_copy_are_followed_wherever_they_lead(source, target, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "far").write_text("far")
    (source / "data" / "linked").symlink_to(tmp_path / "outside")
    (source / "data" / "near").symlink_to("a")
    place_files(attach_files(to_copy="data"), target, {})
    assert tree(target) == ["a", "deep/b", "linked/far", "near"]
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_links_that_lead_nowhere_or_round_are_refused_before_anything_is_placed(source, target):
    (source / "data" / "deep" / "up").symlink_to("..")
    with pytest.raises(ArgumentValueError, match="above itself"):
        place_files(attach_files(to_copy="data"), target, {})
    (source / "data" / "deep" / "up").unlink()
    (source / "data" / "lost").symlink_to("nowhere")
    with pytest.raises(PathNotFoundError, match="lost is a link to nowhere"):
        place_files(attach_files(to_copy="data"), target, {})
    assert not target.exists()


def test_a_folder_to_configure_must_have_no_linked_folders(source, target, tmp_path):
    (source / "data" / "linked").symlink_to(tmp_path)
    with pytest.raises(ArgumentValueError, match="attach it by itself"):
        place_files(attach_files(to_configure="data"), target, {})


def test_nothing_is_written_through_a_link(source, target, tmp_path):
    (tmp_path / "other" / "data").mkdir(parents=True)
    (tmp_path / "other" / "data" / "a").write_text("theirs")
    with pytest.raises(PathExistsError, match="through the link"):
        place_files(attach_files(to_symlink="data", to_configure=tmp_path / "other"), target, {})
    assert (source / "data" / "a").read_text() == "a ;T;"


def test_empty_folders_are_copied(source, target):
    (source / "data" / "results").mkdir()
    place_files(attach_files(to_copy="data"), target, {})
    assert (target / "results").is_dir()


def test_a_folder_inside_its_own_source_is_not_copied_into_itself(source):
    target = source / "run"
    for _ in range(2):
        place_files(attach_files(to_copy="."), target, {})
    assert tree(target) == ["data/a", "data/deep/b", "in.txt"]


def test_a_file_and_a_folder_of_one_name_clash(source, target):
    (source / "data" / "in.txt").mkdir()
    with pytest.raises(PathExistsError, match="in the way of the file"):
        place_files(attach_files(to_copy="data", to_configure="in.txt"), target, {})
    with pytest.raises(PathExistsError, match="a file is in the way"):
        place_files(attach_files(to_copy="in.txt"), source / "in.txt" / "target", {})


def test_what_cannot_be_copied_is_named(source, target):
    os.mkfifo(source / "pipe")
    with pytest.raises(PlacementError, match="pipe cannot be copied to"):
        place_files(attach_files(to_configure="pipe"), target, {})


def test_a_folder_is_removed_and_of_a_link_itself_alone(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "file").touch()
    for name in ("link", "file", "source/data"):
        remove_folder(tmp_path / name, tmp_path)
    assert tree(source) == ["in.txt"]
    assert sorted(os.listdir(tmp_path)) == ["source"]
    with pytest.raises(PathExistsError, match="is not inside"):
        remove_folder(source, source)
