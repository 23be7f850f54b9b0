"""A small task in files, and the YAML files that describe it: which of two alphabets a file is written in."""

import importlib.util
import random
from pathlib import Path

import pytest
import yaml

for package in ("pydantic", "yaml", "tokenizers", "sklearn", "PIL", "matplotlib", "torch"):
    if importlib.util.find_spec(package) is None:
        # Of the tests of this folder, only those of configurations need no more than pydantic and YAML.
        collect_ignore_glob = ["test_*.py"]
        break


class Task:
    """A folder with data and configuration files, which a test may change before it reads or trains."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {
            "globals": {
                "basic_experiment": {
                    "output_folder": str(folder / "runs" / "small"),
                    "n_epochs": 2,
                    "batch_size": 8,
                    "valid_size": 16,
                    "memory_dataset": True,
                },
                # Pictures take longer than all the rest.
                "evaluation_checkpoint": {
                    "sample_interval": 4,
                    "checkpoint_interval": 4,
                    "saved_result_detail_level": 1,
                },
                "visualization_logging": {"plot_skip_steps": 0},
                "optimization": {"lr": 0.003},
                "accelerator": {"hardware": "cpu"},
            },
            "input": {
                "input_info": {
                    "input_source": str(folder / "data"),
                    "input_name": "raw",
                    "input_type": "bytes",
                },
                "input_type_info": {"max_length": 32},
                "model_config": {
                    "embedding_dim": 16,
                    "window_size": 8,
                    "pool": "avg",
                    "model_init_config": {"num_layers": 1, "num_heads": 2},
                },
            },
            "fusion": {"model_type": "mlp-residual", "model_config": {"fc_task_dim": 16, "layers": [1]}},
            "output": {
                "output_info": {
                    "output_source": str(folder / "labels.csv"),
                    "output_name": "verdict",
                    "output_type": "tabular",
                },
                "output_type_info": {"target_cat_columns": ["Outcome"]},
                "model_config": {"model_type": "linear"},
            },
        }

    @property
    def run(self) -> Path:
        return Path(self.files["globals"]["basic_experiment"]["output_folder"])

    def write(self) -> dict[str, list[Path]]:
        """Write the files; return them as `read_configuration` takes them."""
        groups = {"globals": "global_configs", "input": "input_configs", "fusion": "fusion_configs"}
        paths: dict[str, list[Path]] = {}
        for name, content in self.files.items():
            path = self.folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump(content), encoding="utf-8")
            paths.setdefault(groups.get(name, "output_configs"), []).append(path)
        return paths

    def configuration(self, *overrides: str):
        from smartml.training import read_configuration

        return read_configuration(**self.write(), overrides=overrides)


@pytest.fixture
def task(tmp_path) -> Task:
    """80 files in one of two alphabets, with their labels."""
    draw = random.Random(1)
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["ID,Outcome,Share"]
    for number in range(80):
        alphabet = (b"abc", b"cde")[number % 2]
        content = bytes(draw.choice(alphabet) for _ in range(draw.randint(8, 64)))
        (folder / f"s{number:02}.bin").write_bytes(content)
        rows.append(f"s{number:02},{('good', 'bad')[number % 2]},{content.count(b'c') / len(content)}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return Task(tmp_path)
