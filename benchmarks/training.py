"""Where the time of the training loop goes.

    python benchmarks/training.py [--quick]

Each case is a run of `smartml.training` on made-up files, on as many threads as torch takes. Of the loop's time without
validations, the table shows the part inside of the model: forward pass, loss, backward pass and the optimizer's step.
The rest is what it takes to read, cut and stack samples, to note losses, and to report: aim at less than a tenth.
"""

import argparse
import csv
import random
import tempfile
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table

from smartml.training import Outcome, read_configuration, train

SAMPLES, EPOCHS, QUICK_EPOCHS, BATCH = 1024, 6, 2, 64
WORDS = ["the", "flow", "passes", "a", "body", "and", "sheds", "vortices", "behind", "it", "in", "turn"]
TRANSFORMER = {
    "embedding_dim": 64,
    "window_size": 64,
    "position": "embed",
    "pool": "avg",
    "model_init_config": {"num_layers": 2, "num_heads": 4},
}
# What is read, its part of the model, and whether it is kept in memory.
CASES = {
    "bytes, 256 of files of 4 kB, in memory": ("bytes", {"max_length": 256}, True),
    "bytes, 256 of files of 4 kB, read each time": ("bytes", {"max_length": 256}, False),
    "text, 128 tokens by BPE, in memory": (
        "sequence",
        {"max_length": 128, "tokenizer": "bpe", "split_on": None, "adaptive_tokenizer_max_vocab_size": 300},
        True,
    ),
}


def write_data(folder: Path) -> None:
    """Write files of bytes and of text, and labels to learn."""
    draw = random.Random(1)
    rows = []
    for name in ("bytes", "sequence"):
        (folder / name).mkdir()
    for number in range(SAMPLES):
        (folder / "bytes" / f"s{number}").write_bytes(draw.randbytes(4096))
        (folder / "sequence" / f"s{number}").write_text(" ".join(draw.choices(WORDS, k=100)), encoding="utf-8")
        rows.append((f"s{number}", "ab"[number % 2]))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("ID", "kind"), *rows])


def run(folder: Path, kind: str, type_info: dict[str, object], is_kept: bool, epochs: int) -> Outcome:
    """Train once; the folder is made for it."""
    files = {
        "globals": {
            "basic_experiment": {
                "output_folder": str(folder / "run"),
                "n_epochs": epochs,
                "batch_size": BATCH,
                "memory_dataset": is_kept,
            },
            "evaluation_checkpoint": {"sample_interval": 10_000},
        },
        "input": {
            "input_info": {"input_source": str(folder / kind), "input_name": "it", "input_type": kind},
            "input_type_info": type_info,
            "model_config": TRANSFORMER,
        },
        "output": {
            "output_info": {
                "output_source": str(folder / "labels.csv"),
                "output_name": "label",
                "output_type": "tabular",
            },
            "output_type_info": {"target_cat_columns": ["kind"]},
        },
    }
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    names = ([folder / "globals.yaml"], [folder / "input.yaml"], [], [folder / "output.yaml"])
    return train(read_configuration(*names))


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer passes")
    options = parser.parse_args()
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    table = Table("case", "batches", "samples/s", "in the model", title=f"{torch.get_num_threads()} threads")
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder))
            outcome = run(Path(folder), *case, epochs)
        rate = outcome.iterations * BATCH / outcome.loop_s
        table.add_row(name, str(outcome.iterations), f"{rate:.0f}", f"{outcome.model_s / outcome.loop_s:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
