"""Run folders as training leaves them, made in a moment: fitted on a few samples, with the weights of a seed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package 'torch' is not installed")
yaml = pytest.importorskip("yaml", reason="the package 'PyYAML' is not installed")
pytest.importorskip("tokenizers", reason="the package 'tokenizers' is not installed")

from smartml.training import read_configuration  # noqa: E402
from smartml.training.checkpoints import save_checkpoint  # noqa: E402
from smartml.training.config_files import write_configuration  # noqa: E402
from smartml.training.inputs import fit_input  # noqa: E402
from smartml.training.model import Model  # noqa: E402
from smartml.training.outputs import fit_output  # noqa: E402
from smartml.training.run_folder import RunFolder  # noqa: E402

# Tests share the machine with others.
torch.set_num_threads(1)

SHAPE = (4, 3)
SMALL = {"model_init_config": {"num_layers": 1, "num_heads": 2}, "embedding_dim": 8}


def input_file(name, kind, info=None, model=None):
    content = {"input_info": {"input_source": "data", "input_name": name, "input_type": kind}}
    return content | ({"input_type_info": info} if info else {}) | ({"model_config": model} if model else {})


def output_file(name, kind, info=None, **more):
    content = {"output_info": {"output_source": "data", "output_name": name, "output_type": kind}}
    return content | ({"output_type_info": info} if info else {}) | more


INPUTS = {
    "raw": input_file("raw", "bytes", {"max_length": 16}, SMALL | {"window_size": 8}),
    "note": input_file("note", "sequence", {"max_length": 8, "split_on": "", "min_freq": 1}, SMALL),
    "facts": input_file("facts", "tabular", {"input_cat_columns": ["color"], "input_con_columns": ["height (m)"]}),
    "field": input_file("field", "array", None, {"model_type": "linear"}),
}
OUTPUTS = {
    "verdict": output_file("verdict", "tabular", {"target_cat_columns": ["Outcome"], "target_con_columns": ["speed"]}),
    "later": output_file("later", "array"),
    "story": output_file(
        "story",
        "sequence",
        {"max_length": 8, "split_on": "", "min_freq": 1},
        model_config=SMALL,
        sampling_config={"generated_sequence_length": 6},
    ),
}


def example(number):
    """A sample with its targets; each number gives another one."""
    return {
        "raw": b"bytes %d" % number,
        "note": f"note {number}",
        "facts": {"color": ("blue", "green", "red")[number % 3], "height (m)": float(number % 5)},
        "field": np.full(SHAPE, number % 7, np.float32),
        "verdict": {"Outcome": ("bad", "good")[number % 2], "speed": 10.0 * number},
        "later": np.full(SHAPE, number % 4, np.float32),
        "story": f"once {number}",
    }


def sample_for(inputs, number=0):
    """The part of an example that is asked about."""
    return {name: value for name, value in example(number).items() if name in inputs}


class Run:
    """A run folder, to which checkpoints are added."""

    def __init__(self, folder, inputs=("raw", "facts", "field"), outputs=("verdict", "later")):
        made = folder / "described"
        made.mkdir(parents=True)
        general = {"basic_experiment": {"output_folder": str(folder / "run")}}
        files = {}
        for name, content in ({"globals": general} | INPUTS | OUTPUTS).items():
            files[name] = made / f"{name}.yaml"
            files[name].write_text(yaml.safe_dump(content))
        configuration = read_configuration(
            [files["globals"]], [files[name] for name in inputs], [], [files[name] for name in outputs]
        )
        examples = [example(number) for number in range(12)]
        self.inputs, self.outputs = inputs, outputs
        self.folder = RunFolder(folder / "run")
        self._fusion = configuration.fusion
        self._encoders = {it.name: fit_input(it, [one[it.name] for one in examples]) for it in configuration.inputs}
        self._decoders = {
            it.name: fit_output(it, [one[it.name] for one in examples], []) for it in configuration.outputs
        }
        for it in (*self._encoders.values(), *self._decoders.values()):
            it.save(self.folder.serializations)
        write_configuration(configuration, self.folder.stripped_configs)

    def save(self, iteration, performance, *, seed=0, keep=100):
        """Write a checkpoint; return its path."""
        torch.manual_seed(seed)
        model = Model(self._encoders, self._fusion, self._decoders)
        return save_checkpoint(self.folder, model, iteration, performance, keep)
