"""Ensembles: programs made from parameters, or several times the same."""

from pathlib import Path

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, DuplicateNameError, UnsupportedError
from smartml.experiment import Experiment, SbatchSettings


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


def test_a_member_is_found_by_its_name_and_lists_of_members_are_copies(ensemble):
    assert ensemble["ens_1"] is ensemble.models[1]
    assert ensemble["ens_9"] is None
    ensemble.models.clear()
    assert len(ensemble) == 3


def test_the_folders_of_members_move_together(ensemble, tmp_path):
    ensemble.set_path(tmp_path / "other")
    assert [model.path for model in ensemble] == [str(tmp_path / f"other/ens_{i}") for i in range(3)]


def test_members_are_made_from_parameters_and_get_them_in_their_files(exp, tmp_path):
    (tmp_path / "in.txt").write_text("T = ;T; P = ;P;")
    settings = exp.create_run_settings("cat", "in.txt")
    ensemble = exp.create_ensemble("sweep", {"T": [10, 20], "P": 0.5}, run_settings=settings)
    ensemble.attach_generator_files(to_configure="in.txt")
    exp.start(ensemble)
    assert outputs(ensemble) == [["T", "=", "10", "P", "=", "0.5"], ["T", "=", "20", "P", "=", "0.5"]]
    assert ensemble.query_key_prefixing()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["13", "14", "23", "24"]),
        ({"perm_strategy": "step"}, ["13", "24"]),
        ({"replicas": 2, "perm_strategy": "step"}, ["13", "13", "24", "24"]),
        ({"perm_strategy": lambda names, values, n_models: [{"a": "x", "b": 5}]}, ["x5"]),
    ],
)
def test_the_strategy_says_which_members_there_are(exp, options, expected):
    settings = exp.create_run_settings("true")
    ensemble = exp.create_ensemble("ens", {"a": [1, 2], "b": [3, 4]}, run_settings=settings, **options)
    assert ["".join(model.params.values()) for model in ensemble] == expected
    assert [model.name for model in ensemble] == [f"ens_{i}" for i in range(len(expected))]


def test_a_random_choice_has_the_size_asked_for(exp):
    settings = exp.create_run_settings("true")
    ensemble = exp.create_ensemble(
        "ens", {"a": list(range(10))}, run_settings=settings, perm_strategy="random", n_models=3
    )
    assert len({model.params["a"] for model in ensemble}) == 3


def test_parameters_are_passed_as_arguments_on_request(exp):
    settings = exp.create_run_settings("echo", "first")
    params = {"steps": [1, 2], "n": "two words", "-x": 5, "--y": 6}
    ensemble = exp.create_ensemble("ens", params, run_settings=settings, params_as_args=["steps", "n", "-x", "--y"])
    assert ensemble.models[1].run_settings.exe_args == ["first", "--steps=2", "-n", "two words", "-x", "5", "--y=6"]
    assert settings.exe_args == ["first"]
    with pytest.raises(ArgumentValueError, match="'ens_0' has no parameter 'm' to pass; it has: 'steps', 'n'"):
        exp.create_ensemble("ens", params, run_settings=settings, params_as_args=["m"])


def test_an_ensemble_of_a_batch_job_may_be_filled_by_hand(tmp_path):
    exp = Experiment("exp", tmp_path, launcher="slurm")
    ensemble = exp.create_ensemble("ens", batch_settings=exp.create_batch_settings(2))
    assert (len(ensemble), ensemble.batch) == (0, True)
    settings = exp.create_run_settings("true", run_command="srun")
    ensemble.add_model(exp.create_model("by-hand", settings))
    assert [model.path for model in ensemble] == [str(tmp_path / "by-hand")]
    with pytest.raises(ArgumentValueError, match="batch job of its own"):
        ensemble.add_model(exp.create_model("other", settings, batch_settings=exp.create_batch_settings()))


def test_settings_of_another_launcher_are_refused(exp):
    with pytest.raises(UnsupportedError, match="leave batch_settings out"):
        exp.create_ensemble("ens", batch_settings=SbatchSettings())
    with pytest.raises(ArgumentTypeError, match="create_batch_settings"):
        exp.create_ensemble("ens", batch_settings=object())


def test_what_makes_no_members_says_what_is_needed(exp):
    settings = exp.create_run_settings("true")
    for wrong in ({}, {"params": {"a": 1}}, {"replicas": 2}):
        with pytest.raises(ArgumentValueError, match="needs run_settings beside params or replicas"):
            exp.create_ensemble("ens", **wrong)
    with pytest.raises(ArgumentValueError, match="it needs params or replicas"):
        exp.create_ensemble("ens", run_settings=settings)
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(ArgumentValueError, match="at least one replica"):
            exp.create_ensemble("ens", run_settings=settings, replicas=wrong)
    with pytest.raises(ArgumentTypeError, match="must map names"):
        exp.create_ensemble("ens", [1], run_settings=settings)
