"""Ensembles: replicas of one program."""

from pathlib import Path

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, DuplicateNameError, UnsupportedError


@pytest.fixture
def ensemble(exp):
    return exp.create_ensemble("ens", run_settings=exp.create_run_settings("python", ["-c", SHOW]), replicas=3)


SHOW = "import os; print(os.environ.get('SSKEYOUT'), os.environ.get('SSKEYIN'), os.environ.get('EXTRA'))"


def outputs(ensemble):
    return [Path(model.path, f"{model.name}.out").read_text().split() for model in ensemble]


def test_members_are_numbered_and_run_in_folders_of_their_own(exp, ensemble):
    assert [model.name for model in ensemble] == ["ens_0", "ens_1", "ens_2"]
    assert [model.path for model in ensemble] == [f"{exp.exp_path}/ens/ens_{i}" for i in range(3)]
    assert len(ensemble) == len(ensemble.entities) == 3
    exp.start(exp.create_database(port=0), ensemble)
    assert exp.get_status(ensemble) == ["Completed"] * 3
    assert exp.finished(ensemble)


def test_members_put_their_names_before_their_keys(exp, ensemble):
    assert ensemble.query_key_prefixing()
    exp.start(ensemble)
    assert [line[0] for line in outputs(ensemble)] == ["ens_0", "ens_1", "ens_2"]
    ensemble.disable_key_prefixing()
    assert not ensemble.query_key_prefixing()


def test_a_trainer_reads_from_all_members(exp, ensemble, program):
    trainer = program(SHOW, "trainer")
    trainer.register_incoming_entity(ensemble)
    exp.start(trainer)
    assert outputs([trainer])[0][1] == "ens_0,ens_1,ens_2"


def test_members_have_run_settings_of_their_own(exp, ensemble):
    ensemble.models[1].run_settings.update_env({"EXTRA": "x"})
    exp.start(ensemble)
    assert [line[2] for line in outputs(ensemble)] == ["None", "x", "None"]


def test_what_is_said_to_the_ensemble_holds_for_its_members(exp, ensemble, program, tmp_path):
    (tmp_path / "data").write_text("1")
    ensemble.attach_generator_files(to_copy="data")
    ensemble.register_incoming_entity(program("pass", "source"))
    exp.generate(ensemble)
    exp.start(ensemble)
    assert all((tmp_path / f"exp/ens/ens_{i}/data").read_text() == "1" for i in range(3))
    assert [line[1] for line in outputs(ensemble)] == ["source"] * 3


def test_one_failing_member_is_reported_by_name(exp, caplog):
    settings = exp.create_run_settings("python", ["-c", "import os; os.environ['SSKEYOUT'] == 'ens_1' and 1 / 0"])
    ensemble = exp.create_ensemble("ens", run_settings=settings, replicas=2)
    exp.start(ensemble)
    assert exp.get_status(ensemble) == ["Completed", "Failed"]
    assert "ens_1 failed: exit code 1" in caplog.text


def test_all_members_are_stopped(exp):
    ensemble = exp.create_ensemble("ens", run_settings=exp.create_run_settings("sleep", "100"), replicas=2)
    exp.start(ensemble, block=False)
    assert not exp.finished(ensemble)
    exp.stop(ensemble)
    assert exp.get_status(ensemble) == ["Cancelled"] * 2


def test_models_can_be_appended_once(exp, ensemble, program):
    ensemble.add_model(program("pass", "extra"))
    assert len(ensemble) == 4
    with pytest.raises(DuplicateNameError, match="has a member 'extra'"):
        ensemble.add_model(program("pass", "extra"))
    with pytest.raises(ArgumentTypeError):
        ensemble.add_model("extra")


def test_what_is_not_there_yet_says_what_is(exp):
    settings = exp.create_run_settings("true")
    with pytest.raises(UnsupportedError, match="replicas=n"):
        exp.create_ensemble("ens", params={"a": [1, 2]}, run_settings=settings)
    with pytest.raises(UnsupportedError, match="batch"):
        exp.create_ensemble("ens", batch_settings=object())
    for wrong in ({}, {"run_settings": settings}, {"run_settings": settings, "replicas": 0}):
        with pytest.raises(ArgumentValueError, match="replica"):
            exp.create_ensemble("ens", **wrong)
