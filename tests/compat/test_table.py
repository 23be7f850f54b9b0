"""The table of names: each of ours is there, and each of theirs is said once and in full."""

import importlib

import pytest

from smartml.compat.names import documented, find_name, is_class, is_module, module_names
from smartml.compat.table import HOMES, NAMES, Verdict
from smartml.errors import MissingDependencyError

OURS = sorted({name.ours for name in NAMES.values() if name.ours.startswith("smartml.") and " " not in name.ours})


def resolve(name):
    """Return what a dotted name means."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if importlib.util.find_spec(parts[0]) and _is_module(module):
            found = importlib.import_module(module)
            for part in parts[length:]:
                found = getattr(found, part)
            return found
    raise ModuleNotFoundError(name)


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("module", sorted({name.split(".")[1] for name in OURS}))
def test_what_the_table_says_to_write_instead_is_there(module):
    lacking = []
    for name in (name for name in OURS if name.split(".")[1] == module):
        try:
            assert resolve(name) is not None
        except MissingDependencyError as error:
            lacking.append(str(error))
    if lacking:
        # After all that could be looked for.
        pytest.skip(lacking[0])


def test_what_is_not_there_or_better_otherwise_has_a_reason():
    assert [name.theirs for name in NAMES.values() if bool(name.reason) is (name.verdict is Verdict.UNCHANGED)] == []


def test_what_is_better_otherwise_and_what_is_not_there_is_a_sentence_each_without_a_full_stop():
    assert [name.theirs for name in NAMES.values() if name.reason.endswith(".")] == []


def test_classes_that_are_given_and_parents_are_in_the_table():
    named = {name.gives.strip("[]") for name in NAMES.values()} | {name.parent for name in NAMES.values()}
    assert named - {""} <= set(NAMES)


def test_deep_modules_belong_to_documented_ones():
    assert [home for home in HOMES.values() if not is_module(home)] == []


def test_a_name_is_found_where_programs_import_it_from():
    assert documented("smartsim.settings.slurmSettings.SrunSettings") == "smartsim.settings.SrunSettings"
    assert documented("smartsim.nothing.Name") == "smartsim.nothing.Name"
    assert find_name("smartsim.settings.SrunSettings.set_time").theirs == "smartsim.settings.RunSettings.set_time"
    assert find_name("smartsim.settings.SrunSettings.nothing") is None
    assert find_name("smartsim.ml.tf.StaticDataGenerator(wait_interval)").theirs.startswith(
        "smartsim.ml.DataDownloader"
    )


def test_modules_and_classes_are_told_apart():
    assert is_module("smartsim.ml") and is_module("smartsim.ml.data") and not is_module("smartsim.Experiment")
    assert is_class("smartsim.Experiment") and not is_class("smartsim.Experiment.start") and not is_class("smartsim.ml")
    assert "smartredis.Client" in module_names("smartredis")
    assert "smartredis.Client.put_tensor" not in module_names("smartredis")
