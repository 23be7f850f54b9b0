"""Models: what they describe."""

import pytest

from smartml.errors import ArgumentTypeError, DuplicateNameError, PathNotFoundError
from smartml.experiment import Model, RunSettings


@pytest.fixture
def model(tmp_path):
    return Model("model", {"steps": 5, "rate": 0.5, "kind": "a"}, RunSettings("true"), tmp_path)


def test_parameters_become_text(model):
    assert model.params == {"steps": "5", "rate": "0.5", "kind": "a"}


@pytest.mark.parametrize("params", [[1], {"a": [1]}, {"a": None}, {1: "a"}])
def test_other_parameters_are_refused(params):
    with pytest.raises(ArgumentTypeError):
        Model("model", params, RunSettings("true"))


def test_key_prefixing_is_off_until_enabled(model):
    assert not model.query_key_prefixing()
    model.enable_key_prefixing()
    assert model.query_key_prefixing()
    model.disable_key_prefixing()
    assert not model.query_key_prefixing()


def test_an_entity_is_registered_once(model):
    other = Model("other", None, RunSettings("true"))
    model.register_incoming_entity(other)
    with pytest.raises(DuplicateNameError, match="'other' is registered"):
        model.register_incoming_entity(other)
    with pytest.raises(ArgumentTypeError, match="got str"):
        model.register_incoming_entity("other")


def test_an_attachment_replaces_the_earlier_one(model, tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    model.attach_generator_files(to_copy=[str(tmp_path / "a")])
    model.attach_generator_files(to_symlink=tmp_path / "b")
    assert (model.files.to_copy, model.files.to_symlink) == ((), (tmp_path / "b",))
    with pytest.raises(PathNotFoundError):
        model.attach_generator_files(to_copy="none")
