"""Numbers that say how good a model is, by scikit-learn, and the one that they make together."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from smartml.training.config import Metrics
from smartml.training.outputs import OutputDecoder, TabularDecoder

Array = NDArray[Any]

# Of classes, from true and predicted ones.
_OF_CLASSES: dict[str, Callable[[Array, Array], float]] = {
    "acc": metrics.accuracy_score,
    "cohen-kappa": lambda true, said: _kappa(true, said),
    "f1-macro": lambda true, said: metrics.f1_score(true, said, average="macro", zero_division=0),
    "mcc": metrics.matthews_corrcoef,
    "precision-macro": lambda true, said: metrics.precision_score(true, said, average="macro", zero_division=0),
    "recall-macro": lambda true, said: metrics.recall_score(true, said, average="macro", zero_division=0),
}
# Of classes, from what is one and the probability of it, class by class.
_OF_PROBABILITIES: dict[str, Callable[[Array, Array], float]] = {
    "ap-macro": metrics.average_precision_score,
    "roc-auc-macro": metrics.roc_auc_score,
}
# Of numbers in their own units.
_OF_NUMBERS: dict[str, Callable[[Array, Array], float]] = {
    "explained-variance": metrics.explained_variance_score,
    "mae": metrics.mean_absolute_error,
    "mape": metrics.mean_absolute_percentage_error,
    "pcc": lambda true, said: _correlation(true, said),
    "r2": metrics.r2_score,
    "rmse": lambda true, said: math.sqrt(metrics.mean_squared_error(true, said)),
}
# The lower the better.
_ERRORS = ("mae", "mape", "rmse")


def _kappa(true: Array, said: Array) -> float:
    # Of a single class that is always said, agreement by chance is all there is.
    return math.nan if len(np.union1d(true, said)) < 2 else metrics.cohen_kappa_score(true, said)


def _correlation(true: Array, said: Array) -> float:
    if true.std() == 0 or said.std() == 0:
        return 0.0
    return float(np.corrcoef(true, said)[0, 1])


@dataclass(frozen=True)
class Judged:
    """What a validation has found: truths and answers of the targets that are no sequences, and losses of all."""

    ids: list[str]
    # By output and target: classes, -1 if missing, or numbers, NaN if missing.
    truths: Mapping[tuple[str, str], Array]
    # Logits, or numbers as the model gives them.
    answers: Mapping[tuple[str, str], Array]
    losses: Mapping[tuple[str, str], float]

    @property
    def loss(self) -> float:
        """The mean over all targets."""
        return sum(self.losses.values()) / len(self.losses)


def target_metrics(decoders: Mapping[str, OutputDecoder], settings: Metrics) -> dict[tuple[str, str], list[str]]:
    """List what `measure` returns of each target, by output and target."""
    kinds = {}
    for name, decoder in decoders.items():
        for target in decoder.targets:
            kinds[name, target] = sorted({"loss", *_kinds_of(decoder, target, settings)})
    return kinds


def _kinds_of(decoder: OutputDecoder, target: str, settings: Metrics) -> set[str]:
    if not isinstance(decoder, TabularDecoder):
        return set()
    if target in decoder.categories:
        return {*settings.cat_metrics, *settings.cat_averaging_metrics}
    return {*settings.con_metrics, *settings.con_averaging_metrics} - {"loss"}


def measure(
    judged: Judged, decoders: Mapping[str, OutputDecoder], settings: Metrics
) -> dict[tuple[str, str], dict[str, float]]:
    """Return the metrics of each target that were asked for, with its loss; NaN where one is not defined."""
    return {
        (name, target): {"loss": loss} | _measure_target(judged, decoders[name], name, target, settings)
        for (name, target), loss in judged.losses.items()
    }


def _measure_target(
    judged: Judged, decoder: OutputDecoder, name: str, target: str, settings: Metrics
) -> dict[str, float]:
    if not isinstance(decoder, TabularDecoder):
        return {}
    kinds = sorted(_kinds_of(decoder, target, settings))
    truth, answer = judged.truths[name, target], judged.answers[name, target]
    if target in decoder.categories:
        known = truth >= 0
        shares = decoder.probabilities(target, answer)[known]
        return {kind: of_categories(kind, truth[known], shares) for kind in kinds}
    scale, known = decoder.scales[target], ~np.isnan(truth)
    true, said = scale.unscaled(truth[known].astype(np.float64)), scale.unscaled(answer[known].astype(np.float64))
    return {kind: of_numbers(kind, true, said) for kind in kinds}


def of_categories(kind: str, truth: Array, shares: Array) -> float:
    """Compute a metric of true classes (n,) and probabilities (n, classes)."""
    if not len(truth):
        return math.nan
    if kind in _OF_CLASSES:
        return float(_OF_CLASSES[kind](truth, shares.argmax(1)))
    # The mean over the classes that are there, and are not all there is.
    classes = [number for number in range(shares.shape[1]) if 0 < (truth == number).sum() < len(truth)]
    each = [float(_OF_PROBABILITIES[kind](truth == number, shares[:, number])) for number in classes]
    return sum(each) / len(each) if each else math.nan


def of_numbers(kind: str, true: Array, said: Array) -> float:
    """Compute a metric of numbers in their own units, both (n,)."""
    # Some say nothing of a single number.
    return float(_OF_NUMBERS[kind](true, said)) if len(true) > 1 else math.nan


def performance(
    measured: Mapping[tuple[str, str], Mapping[str, float]], decoders: Mapping[str, OutputDecoder], settings: Metrics
) -> float:
    """Return perf-average: the mean over targets of the mean of their averaging metrics, higher is better."""
    shares = []
    for (name, target), values in measured.items():
        decoder = decoders[name]
        if not isinstance(decoder, TabularDecoder):
            kinds = ["loss"]
        else:
            is_category = target in decoder.categories
            kinds = list(settings.cat_averaging_metrics if is_category else settings.con_averaging_metrics)
        each = [_higher_is_better(kind, values[kind]) for kind in kinds]
        defined = [value for value in each if not math.isnan(value)]
        shares.append(sum(defined) / len(defined) if defined else math.nan)
    defined = [share for share in shares if not math.isnan(share)]
    return sum(defined) / len(defined) if defined else -math.inf


def _higher_is_better(kind: str, value: float) -> float:
    if kind == "loss":
        return 1 - value
    return -value if kind in _ERRORS else value
