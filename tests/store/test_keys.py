"""Which key belongs to which name."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.store.keys import DatasetKeys, KeyNames


def test_without_prefixes_a_key_is_the_name():
    keys = KeyNames.from_environment("", "")

    assert keys.tensor("t") == b"t"
    assert keys.list("l") == b"l"
    assert keys.dataset("d").entry == b"{d}"
    assert keys.dataset("d").metadata == b"{d}.meta"
    assert keys.dataset("d").tensor("x") == b"{d}.x"


def test_reading_and_writing_have_prefixes_of_their_own():
    keys = KeyNames.from_environment("first,second", "own")

    assert (keys.tensor("t"), keys.tensor("t", write=True)) == (b"first.t", b"own.t")
    assert (keys.list("l"), keys.list("l", write=True)) == (b"first.l", b"own.l")
    assert keys.dataset("d").metadata == b"first.{d}.meta"
    assert keys.dataset("d", write=True).tensor("x") == b"own.{d}.x"


def test_the_source_can_be_any_incoming_entity():
    keys = KeyNames.from_environment(",first,,second,", "own").with_source("second")

    assert keys.sources == ("first", "second")
    assert (keys.tensor("t"), keys.tensor("t", write=True)) == (b"second.t", b"own.t")
    with pytest.raises(ArgumentValueError, match="'third' is not an incoming entity; known are: first, second"):
        keys.with_source("third")


def test_a_prefix_of_bytes_that_are_no_text_stays_as_it_is():
    keys = KeyNames.from_environment(b"\xff".decode(errors="surrogateescape"), "")

    assert keys.tensor("t") == b"\xff.t"


def test_many_names_have_the_keys_that_each_has():
    keys, names = KeyNames.from_environment("first", "own"), ["t", "ü_1_2", "p.q"]

    assert keys.tensors(names) == [keys.tensor(name) for name in names]
    assert keys.tensors(names, write=True) == [keys.tensor(name, write=True) for name in names]
    assert keys.tensors([]) == []


@pytest.mark.parametrize("wrong", [3, "", "\ud800"])
def test_one_wrong_name_among_many_is_told_of(wrong):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="the name of a tensor must"):
        KeyNames().tensors(["t", wrong, "u"])


@pytest.mark.parametrize("name", ["d", "a}b{c", "ü", "p.q"])
def test_an_entry_of_a_list_gives_the_name_back(name):
    keys = KeyNames.from_environment("", "out{1")

    assert keys.dataset(name).name == name


@pytest.mark.parametrize("entry", [b"", b"plain", b"}x{", b"{open"])
def test_an_entry_without_a_name_is_refused(entry):
    with pytest.raises(ArgumentValueError, match="is not an entry of an aggregation list"):
        _ = DatasetKeys(entry).name


@pytest.mark.parametrize("kind", ["tensor", "dataset", "list"])
def test_a_name_must_be_text_that_is_there(kind):
    key = getattr(KeyNames(), kind)

    with pytest.raises(ArgumentTypeError, match=f"the name of a {kind} must be str, not int: 3"):
        key(3)
    with pytest.raises(ArgumentValueError, match=f"the name of a {kind} must not be empty"):
        key("")
