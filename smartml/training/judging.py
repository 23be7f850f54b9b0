"""A validation: the model asked for all samples that were held out, and what it answered written down."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smartml.errors import ConfigError, DataError, SampleError
from smartml.training.batches import Batch, Codec, Sample
from smartml.training.curves import draw_classes, draw_numbers
from smartml.training.losses import find_losses
from smartml.training.metrics import Judged
from smartml.training.model import Model
from smartml.training.outputs import ArrayDecoder, SequenceDecoder, TabularDecoder
from smartml.training.run_folder import RunFolder
from smartml.training.sources import Stored, read_values
from smartml.training.trained import TrainedModel


@torch.inference_mode()
def judge(model: Model, batches: Iterable[Batch], codec: Codec, device: torch.device, precision: Any) -> Judged:
    """Ask the model for all batches; `precision` is the context to run it in."""
    ids: list[str] = []
    truths: dict[tuple[str, str], list[Any]] = {}
    answers: dict[tuple[str, str], list[Any]] = {}
    losses: dict[tuple[str, str], float] = {}
    model.eval()
    for batch in batches:
        moved = batch.to(device)
        with precision:
            outputs = model(moved.inputs, moved.texts)
        for key, loss in find_losses(outputs, moved, codec.outputs).items():
            losses[key] = losses.get(key, 0.0) + loss.item() * len(batch.ids)
        for name, decoder in codec.outputs.items():
            if isinstance(decoder, SequenceDecoder):
                # All logits of all texts would fill the memory.
                continue
            for target, answer in outputs[name].items():
                answers.setdefault((name, target), []).append(answer.float().cpu().numpy())
                truths.setdefault((name, target), []).append(_truth(decoder, batch, name, target))
        ids += batch.ids
    model.train()
    return Judged(
        ids,
        {key: np.concatenate(parts) for key, parts in truths.items()},
        {key: np.concatenate(parts) for key, parts in answers.items()},
        {key: total / len(ids) for key, total in losses.items()},
    )


def _truth(decoder: Any, batch: Batch, name: str, target: str) -> Any:
    truth: Any = batch.targets[name]
    if isinstance(decoder, TabularDecoder):
        codes, numbers = truth
        columns = list(decoder.categories)
        truth = codes[:, columns.index(target)] if target in columns else numbers[:, list(decoder.scales).index(target)]
    return truth.numpy()


def write_predictions(run: RunFolder, judged: Judged, codec: Codec, iteration: int) -> None:
    """Write what was answered to the samples that were held out, as tables and pictures."""
    for (name, target), answer in judged.answers.items():
        decoder, truth = codec.outputs[name], judged.truths[name, target]
        folder = run.samples(name, target, iteration)
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(decoder, ArrayDecoder):
            np.savez(
                folder / "predictions.npz",
                ID=np.array(judged.ids),
                true=decoder.unscaled(truth),
                predicted=decoder.unscaled(answer),
            )
        elif isinstance(decoder, TabularDecoder) and target in decoder.categories:
            _write_classes(folder, judged.ids, decoder, target, truth, answer)
        elif isinstance(decoder, TabularDecoder):
            scale = decoder.scales[target]
            known = ~np.isnan(truth)
            true, said = scale.unscaled(truth[known]), scale.unscaled(answer[known])
            ids = [one for one, is_known in zip(judged.ids, known, strict=True) if is_known]
            rows = zip(ids, true.tolist(), said.tolist(), strict=True)
            _write_table(folder / "regression_predictions.csv", ["ID", "True", "Predicted"], rows)
            if len(true):
                draw_numbers(folder / "regression_predictions.pdf", target, true, said)


def _write_classes(
    folder: Path, ids: Sequence[str], decoder: TabularDecoder, target: str, truth: Any, answer: Any
) -> None:
    names = decoder.categories[target].names
    shares = decoder.probabilities(target, answer)
    known = truth >= 0
    header = ["ID", "True_Label", "Predicted", *(f"Score Class {name}" for name in names)]
    # Raw scores; with one logit that of the second class, the first one's being 0.
    scores = answer if answer.shape[1] == len(names) else np.concatenate([np.zeros_like(answer), answer], axis=1)
    rows = [
        [ids[row], names[truth[row]], names[shares[row].argmax()], *scores[row].tolist()]
        for row in np.flatnonzero(known)
    ]
    _write_table(folder / "predictions.csv", header, rows)
    if known.any():
        draw_classes(folder, names, truth[known], shares[known])


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


# Of input files that are written beside what was generated for them.
_ENDINGS = {"array": "npy", "bytes": "bin", "image": "png", "sequence": "txt", "tabular": "json"}


def write_generated(
    run: RunFolder, trained: TrainedModel, held_out: Sequence[Sample], iteration: int, seed: int
) -> None:
    """Generate texts for some samples that were held out, and for those of the configuration, and write them."""
    for name, decoder in trained.outputs.items():
        if not isinstance(decoder, SequenceDecoder):
            continue
        settings = decoder.config.sampling_config
        random = np.random.default_rng([seed, iteration])
        number = min(settings.n_eval_inputs, len(held_out))
        chosen = [held_out[place] for place in random.choice(len(held_out), number, replace=False)]
        samples = [_blank(read_values(sample).inputs, trained) for sample in chosen]
        manual = [_manual(values, trained, name) for values in settings.manual_inputs]
        if not samples and not manual:
            continue
        texts = [result[name] for result in trained.generate([*samples, *manual], seed=int(random.integers(2**31)))]
        folder = run.samples(name, name, iteration)
        meta = {}
        for place, (values, text) in enumerate(zip([*samples, *manual], texts, strict=True)):
            own = folder / ("auto" if place < len(samples) else "manual")
            one = chosen[place].id if place < len(samples) else f"manual_{place}"
            _write_inputs(own / f"{place}_inputs", values, trained)
            (own / f"{place}_generated.txt").write_text(text, encoding="utf-8")
            paths = {"generated": own / f"{place}_generated.txt", "inputs": own / f"{place}_inputs"}
            meta[one] = {key: str(path.relative_to(run.path)) for key, path in paths.items()} | {"index": place}
        (folder / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")


def _blank(inputs: Mapping[str, Any], trained: TrainedModel) -> dict[str, Any]:
    """Return the inputs of a sample to generate for, from the beginning."""
    return {name: inputs.get(name) for name in trained.inputs} | dict.fromkeys(trained.model.sequences, "")


def _manual(values: Mapping[str, Any], trained: TrainedModel, output: str) -> dict[str, Any]:
    """Return a sample that the configuration writes out, with what it names as files."""
    read = {}
    for name, value in values.items():
        encoder = trained.inputs.get(name)
        is_file = encoder is not None and encoder.type in ("array", "bytes", "image")
        try:
            read[name] = Stored(Path(value), encoder.type).read() if is_file and encoder is not None else value
        except (DataError, TypeError) as error:
            raise ConfigError(f"sampling_config.manual_inputs of {output!r}: {name!r}: {error}") from error
    sample = dict.fromkeys(trained.model.sequences, "") | read
    try:
        trained.encode([sample])
    except SampleError as error:
        raise ConfigError(f"sampling_config.manual_inputs of {output!r}: {error}") from error
    return sample


def _write_inputs(folder: Path, values: Mapping[str, Any], trained: TrainedModel) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        kind = trained.inputs[name].type if name in trained.inputs else "sequence"
        path = folder / f"{name}.{_ENDINGS[kind]}"
        if value is None:
            continue
        if kind == "array":
            np.save(path, np.asarray(value))
        elif kind in ("bytes", "image"):
            path.write_bytes(bytes(value))
        else:
            text = value if kind == "sequence" else json.dumps(value, ensure_ascii=False)
            path.write_text(text, encoding="utf-8")
