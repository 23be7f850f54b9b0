"""Configurations: typed, overridden, refused with a reason, written and read again."""

import pytest
import yaml

from smartml.errors import ConfigError
from smartml.training import read_configuration, resume_configuration
from smartml.training.config import GlobalConfig
from smartml.training.config_files import read_written, write_configuration
from smartml.training.input_config import INPUT_CONFIGS
from smartml.training.output_config import OUTPUT_CONFIGS


def refused(task, *overrides):
    with pytest.raises(ConfigError) as raised:
        task.configuration(*overrides)
    return str(raised.value)


def test_what_is_left_out_has_the_defaults_of_eir(task):
    found = task.configuration()

    assert found.globals.optimization.b2 == 0.999
    assert found.globals.lr_schedule.lr_schedule == "plateau"
    assert found.inputs[0].settings.position == "encode"
    assert found.outputs[0].settings.fc_task_dim == 256
    assert found.stream is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("globals.basic_experiment.n_epoch=3", ["globals.yaml: basic_experiment", "'n_epoch'", "perhaps 'n_epochs'"]),
        ("globals.optimisation.lr=1", ["unknown key 'optimisation', perhaps 'optimization'"]),
        ("input.model_config.embeding_dim=8", ["input.yaml: model_config", "perhaps 'embedding_dim'"]),
        ("output.output_type_info.target_columns=['a']", ["output.yaml", "target_c"]),
        ("fusion.model_config.width=3", ["fusion.yaml", "known are layers, fc_task_dim"]),
    ],
)
def test_an_unknown_key_is_refused_with_file_and_nearest_ones(task, override, words):
    message = refused(task, override)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("globals.basic_experiment.batch_size=many", "basic_experiment.batch_size: input should be a valid integer"),
        ("globals.basic_experiment.batch_size=0", "greater than 0 (it is 0)"),
        ("globals.evaluation_checkpoint.checkpoint_interval=6", "6, which is no multiple of 'sample_interval', 4"),
        ("globals.lr_schedule.lr_schedule=steps", "input should be 'cosine', 'cycle', 'plateau' or 'same'"),
        ("globals.basic_experiment.device=cuda", "accelerator.hardware"),
        ("globals.basic_experiment.valid_size=1.5", "write a whole one"),
        ("globals.monitor={'path': 'a'}", "known are uri, scope"),
        ("globals.optimization.lr=nan", "finite number"),
        ("input.model_config.model_init_config.num_heads=3", "16, of which 3 heads"),
        ("input.input_info.input_type=byte", "is 'byte', perhaps 'bytes'"),
        ("input.input_info.input_name=verdict", "the name 'verdict' is taken"),
        ("input.input_info.input_name=a/b", "string should match pattern"),
        ("input.input_info.input_source=ws://localhost:1/ws", "one source of all inputs and outputs"),
        ("output.output_type_info.target_cat_columns=[]", "name at least one target column"),
        ("fusion.model_type=pass-through", "is for sequence outputs"),
        ("input.input_info=3", "input_info: is missing, or no section"),
        ("globals.optimization=3", "must be a section"),
    ],
)
def test_a_value_that_cannot_work_is_refused(task, override, words):
    assert words in refused(task, override)


def test_overrides_change_single_keys_with_or_without_dashes(task):
    found = task.configuration(
        "--globals.basic_experiment.n_epochs=7",
        "globals.basic_experiment.memory_dataset=false",
        "globals.evaluation_checkpoint.checkpoint_interval=null",
        "input.input_type_info.sampling_strategy_if_longer=from_start",
        "globals.data_preparation.streaming_setup_samples=10",
    )

    assert found.globals.basic_experiment.n_epochs == 7
    assert found.globals.basic_experiment.memory_dataset is False
    assert found.globals.evaluation_checkpoint.checkpoint_interval is None
    assert found.inputs[0].input_type_info.sampling_strategy_if_longer == "from_start"
    assert found.globals.data_preparation.streaming_setup_samples == 10


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("general.basic_experiment.n_epochs=7", "no file 'general' was given; there are globals, input"),
        ("n_epochs=7", "is no override"),
        ("globals.basic_experiment", "is no override"),
    ],
)
def test_an_override_that_means_nothing_is_refused(task, override, words):
    assert words in refused(task, override)


def test_global_files_are_merged_later_ones_over_earlier_ones(task):
    paths = task.write()
    more = task.folder / "more.yaml"
    more.write_text("basic_experiment: {n_epochs: 9}\noptimization: {wd: 0.5}\n")

    found = read_configuration(**{**paths, "global_configs": [*paths["global_configs"], more]})

    assert found.globals.basic_experiment.n_epochs == 9
    assert found.globals.basic_experiment.batch_size == 8
    assert (found.globals.optimization.lr, found.globals.optimization.wd) == (0.003, 0.5)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00", "a: !!python/object:os.system {}"])
def test_a_file_that_is_no_yaml_of_sections_is_named(task, content):
    paths = task.write()
    paths["global_configs"][0].write_text(content)
    with pytest.raises(ConfigError, match=r"globals\.yaml"):
        read_configuration(**paths)


def test_a_missing_file_is_named(task):
    paths = task.write() | {"input_configs": [task.folder / "none.yaml"]}
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        read_configuration(**paths)


def test_what_is_written_is_read_again_as_it_was(task):
    found = task.configuration()
    write_configuration(found, task.folder / "configs")

    assert read_written(task.folder / "configs") == found
    written = yaml.safe_load((task.folder / "configs" / "global_config.yaml").read_text())
    assert written["optimization"]["b1"] == 0.9, "defaults are filled in"
    assert "model_config" in yaml.safe_load((task.folder / "configs" / "input_configs.yaml").read_text())[0]


def test_a_run_that_goes_on_may_change_the_global_file_and_be_elsewhere(task):
    write_configuration(task.configuration(), task.folder / "moved" / "configs")

    found = resume_configuration(task.folder / "moved", ["global_config.basic_experiment.n_epochs=5"])

    assert found.globals.basic_experiment.output_folder == str(task.folder / "moved")
    assert found.globals.basic_experiment.n_epochs == 5


def test_every_key_is_documented():
    def undocumented(kind, path):
        for name, field in kind.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                yield from undocumented(field.annotation, f"{path}.{name}")
            elif not field.description:
                yield f"{path}.{name}"

    kinds = [GlobalConfig, *INPUT_CONFIGS.values(), *OUTPUT_CONFIGS.values()]
    assert [key for kind in kinds for key in undocumented(kind, kind.__name__)] == []
