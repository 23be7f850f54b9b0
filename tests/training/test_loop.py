"""Runs from beginning to end: what they leave behind, how they end, and how they go on."""

import csv
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from smartml.errors import CheckpointError, DataError, DivergenceError, RunExistsError
from smartml.training import load_run, resume_configuration, train


def rows(path):
    with path.open(newline="") as file:
        header, *found = csv.reader(file)
    return header, [[float(value) for value in row] for row in found]


def weights(run):
    return torch.load(run / "resume" / "state.pt", weights_only=True)["model"]


def test_a_run_leaves_what_one_of_eir_does(task):
    seen = []
    task.files["globals"]["evaluation_checkpoint"]["saved_result_detail_level"] = 5
    outcome = train(task.configuration("output.output_type_info.target_con_columns=['Share']"), report=seen.append)

    assert (outcome.reason, outcome.iterations, outcome.folder) == ("done", 16, task.run)
    assert 0 < outcome.model_s <= outcome.loop_s
    assert [(it.iteration, it.iterations) for it in seen] == [(number, 16) for number in range(1, 17)]
    header, losses = rows(task.run / "train_average_history.log")
    assert header == ["iteration", "loss-average"] and len(losses) == 16
    header, judged = rows(task.run / "validation_average_history.log")
    assert header == ["iteration", "loss-average", "perf-average"]
    assert [row[0] for row in judged] == [4, 8, 12, 16]
    target = task.run / "results" / "verdict" / "Outcome"
    header, _ = rows(target / "validation_Outcome_history.log")
    kinds = ["acc", "ap-macro", "loss", "mcc", "roc-auc-macro"]
    assert header == ["iteration", *(f"verdict_Outcome_{kind}" for kind in kinds)]
    for name in ("training_curve_ACC.pdf", "training_curve_MCC.pdf", "training_curve_LOSS.pdf"):
        assert (target / name).read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in (target / "samples" / "16").iterdir()) == [
        "bin_pr_curve.pdf",
        "bin_roc_curve.pdf",
        "confusion_matrix.pdf",
        "positive_prediction_distribution.pdf",
        "predictions.csv",
    ]
    assert (task.run / "results/verdict/Share/samples/16/regression_predictions.csv").exists()
    for name in (
        "configs/global_config.yaml",
        "logging_history.log",
        "meta/smartml_version.txt",
        "model_architecture/model_info.txt",
        "serializations/bytes_input_serializations/raw/vocab.json",
        "serializations/transformers/verdict/Outcome.json",
        "training_curve_LOSS-AVERAGE.pdf",
        "training_curve_PERF-AVERAGE.pdf",
    ):
        assert (task.run / name).stat().st_size > 0, name


def test_the_model_learns_and_answers(task):
    outcome = train(task.configuration("globals.basic_experiment.n_epochs=12"))
    model = load_run(outcome.checkpoints[0])

    good, bad = model.predict([{"raw": b"abcabcbbaacb" * 3}, {"raw": b"cdecdeddeecd" * 3}])

    assert outcome.best_performance > 0.8
    assert good["verdict"]["Outcome"]["good"] > 0.5 > bad["verdict"]["Outcome"]["good"]
    assert sum(good["verdict"]["Outcome"].values()) == pytest.approx(1)


def test_the_best_checkpoints_stay(task):
    outcome = train(task.configuration("globals.evaluation_checkpoint.n_saved_models=2",
                                       "globals.basic_experiment.n_epochs=4"))  # fmt: skip
    _, judged = rows(task.run / "validation_average_history.log")

    best, written = -math.inf, []
    for iteration, _, performance in judged:
        if performance > best:
            best, written = (
                performance,
                [*written, f"small_checkpoint_{iteration:.0f}_perf-average={performance:.4f}.pt"],
            )
    assert [path.name for path in outcome.checkpoints] == written[:-3:-1]
    assert sorted(path.name for path in (task.run / "saved_models").iterdir()) == sorted(written[-2:])


def test_the_same_seed_gives_the_same_run_and_another_one_another(task):
    folders = []
    for number, seed in enumerate((3, 3, 4)):
        folders.append(task.folder / "runs" / str(number))
        train(task.configuration(f"globals.basic_experiment.output_folder={folders[-1]}",
                                 f"globals.basic_experiment.seed={seed}"))  # fmt: skip
    first, second, other = (rows(folder / "train_average_history.log")[1] for folder in folders)

    assert first == second != other


# What draws random numbers or keeps a state of its own.
DEMANDING = (
    "globals.training_control.mixing_alpha=0.4",
    "globals.optimization.gradient_noise=0.001",
    "globals.optimization.gradient_accumulation_steps=3",
    "globals.training_control.weighted_sampling_columns=['all']",
    "globals.lr_schedule.lr_plateau_patience=0",
    "globals.basic_experiment.n_epochs=3",
    "globals.evaluation_checkpoint.saved_result_detail_level=2",
)


@pytest.mark.parametrize("after", [5, 8])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(task, after):
    whole = task.folder / "whole"
    train(task.configuration(*DEMANDING, f"globals.basic_experiment.output_folder={whole}"))

    left = iter(range(after - 1))
    stopped = train(task.configuration(*DEMANDING), stop=lambda: next(left, None) is None)
    moved = task.folder / "moved"
    task.run.rename(moved)
    done = train(resume_configuration(moved), resume=True)

    assert (stopped.reason, stopped.iterations) == ("stopped", after)
    assert (done.reason, done.iterations) == ("done", 24)
    assert all(torch.equal(it, weights(moved)[name]) for name, it in weights(whole).items())
    for name in ("train_average_history.log", "validation_average_history.log"):
        assert (whole / name).read_text() == (moved / name).read_text()


def test_a_run_that_was_killed_goes_on_from_its_last_state(task):
    task.files["globals"]["basic_experiment"]["n_epochs"] = 200
    task.write()
    names = ("globals", "input", "fusion", "output")
    options = [
        word for name in names for word in (f"--{name if name != 'globals' else 'global'}_configs", f"{name}.yaml")
    ]
    process = subprocess.Popen([sys.executable, "-m", "smartml", "train", *options], cwd=task.folder,
                               env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    deadline = time.monotonic() + 120
    while not (task.run / "resume" / "state.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    iteration = torch.load(task.run / "resume" / "state.pt", weights_only=True)["position"]["iteration"]
    epochs = iteration // 8 + 2

    done = train(resume_configuration(task.run, [f"global_config.basic_experiment.n_epochs={epochs}"]), resume=True)

    assert done.iterations == 8 * epochs
    assert [row[0] for row in rows(task.run / "train_average_history.log")[1]] == list(range(1, 8 * epochs + 1))


def test_training_ends_early_when_it_gets_no_better(task):
    outcome = train(
        task.configuration(
            "globals.training_control.early_stopping_patience=2",
            "globals.basic_experiment.n_epochs=50",
            "globals.optimization.lr=1e-12",
            "globals.optimization.wd=0",
        )
    )
    assert outcome.reason == "early stopping"
    assert outcome.iterations == 12


def test_a_buffer_puts_off_the_early_end(task):
    outcome = train(
        task.configuration(
            "globals.training_control.early_stopping_patience=1",
            "globals.training_control.early_stopping_buffer=18",
            "globals.basic_experiment.n_epochs=50",
            "globals.optimization.lr=1e-12",
            "globals.optimization.wd=0",
        )
    )
    assert outcome.iterations == 20


def test_a_loss_that_is_no_number_ends_the_run_with_advice(task):
    with pytest.raises(DivergenceError, match=r"take a smaller optimization\.lr"):
        train(
            task.configuration(
                "globals.optimization.lr=1e30",
                "globals.optimization.optimizer=sgd",
                "globals.optimization.gradient_clipping=null",
                "globals.lr_schedule.warmup_steps=0",
                "globals.basic_experiment.n_epochs=9",
            )
        )


def test_a_folder_with_a_run_is_not_written_to(task):
    train(task.configuration())
    before = (task.run / "train_average_history.log").read_bytes()
    with pytest.raises(RunExistsError, match="take another output_folder, or resume"):
        train(task.configuration())
    assert (task.run / "train_average_history.log").read_bytes() == before


def test_what_cannot_be_resumed_is_said(task):
    with pytest.raises(CheckpointError, match="holds no run that can be resumed"):
        train(task.configuration(), resume=True)
    train(task.configuration())
    (task.folder / "data" / "s00.bin").unlink()
    held_out = torch.load(task.run / "resume" / "state.pt", weights_only=True)["held_out"]
    (task.folder / "data" / f"{held_out[0]}.bin").unlink(missing_ok=True)
    with pytest.raises(DataError, match="samples that the run validated with are gone"):
        train(resume_configuration(task.run), resume=True)
    (task.run / "resume" / "state.pt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(CheckpointError, match="or is damaged"):
        train(resume_configuration(task.run), resume=True)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_learns_as_well(task, precision):
    outcome = train(
        task.configuration(f"globals.accelerator.precision={precision}", "globals.basic_experiment.n_epochs=12")
    )
    assert outcome.best_performance > 0.7


def test_a_checkpoint_may_be_where_another_run_begins(task):
    first = train(task.configuration("globals.basic_experiment.n_epochs=12"))
    second = train(
        task.configuration(
            f"globals.model.pretrained_checkpoint={first.checkpoints[0]}",
            f"globals.basic_experiment.output_folder={task.folder / 'second'}",
            "globals.optimization.lr=1e-12",
            "globals.basic_experiment.n_epochs=1",
        )
    )
    assert second.best_performance > 0.8
    with pytest.raises(CheckpointError, match="is of another model"):
        train(
            task.configuration(
                f"globals.model.pretrained_checkpoint={first.checkpoints[0]}",
                f"globals.basic_experiment.output_folder={task.folder / 'third'}",
                "fusion.model_config.fc_task_dim=24",
            )
        )


def test_files_may_be_read_by_worker_processes(task):
    alone = train(task.configuration())
    with_workers = train(
        task.configuration(
            "globals.basic_experiment.dataloader_workers=2",
            "globals.basic_experiment.memory_dataset=false",
            f"globals.basic_experiment.output_folder={task.folder / 'second'}",
        )
    )
    assert alone.best_performance == with_workers.best_performance
