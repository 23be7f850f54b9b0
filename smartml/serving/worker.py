"""A predictor beside a simulation: answers tensors in the store, so that a solver can ask in its own loop."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import ArgumentValueError, SmartMLError, StoreError, TensorFormatError
from smartml.serving.batching import Outcome
from smartml.serving.predictor import Predictor
from smartml.serving.questions import Question, QuestionFinder
from smartml.serving.reload import CheckpointWatch
from smartml.serving.tensors import check_fields, samples_from, tensors_from
from smartml.store import Client
from smartml.store.fullness import put_when_there_is_room

logger = logging.getLogger(__name__)

# While nothing comes, the store is asked at intervals that grow from the first to the second: one command each.
_SHORTEST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02
# After an error of the store.
_RETRY_PAUSE_S = 1.0
# Questions that are read at once.
_QUESTIONS_AT_ONCE = 256


class StoreWorker:
    """Answers questions that are put into a database.

    A question is a tensor for each input of the model, `<input>_<rank>_<iteration>` or `<input>_<iteration>`;
    `prefixes` gives inputs other names. Axis 0 counts samples. It is answered when all its tensors are there: by a
    tensor `<output>_<rank>_<iteration>` for an array, `<output>_<column>_<rank>_<iteration>` for each column of a table
    (see smartml/serving/tensors.py), or, where it cannot be, by `<first input>_error_<rank>_<iteration>`, uint8, the
    reason as UTF-8 text. At that moment the question is deleted, unless `keep_questions`, and its name may be used
    again. Whoever asked deletes the answer.

    Keys of the entities that `SSKEYIN` names are looked for; answers stand under the prefix of the question. Questions
    of any number of ranks that wait at the same time are answered together, `max_batch_size` samples in one forward
    pass. Several workers may share the questions; one that is answered twice has the same answer.
    """

    def __init__(
        self,
        predictor: Predictor,
        client: Client,
        *,
        prefixes: Mapping[str, str] | None = None,
        keep_questions: bool = False,
        max_batch_size: int = 64,
        watch: CheckpointWatch | None = None,
        reload_interval_s: float = 1.0,
    ) -> None:
        check_fields(predictor.description)
        inputs = list(predictor.description.inputs)
        prefixes = prefixes or {}
        unknown = [name for name in prefixes if name not in inputs]
        if unknown:
            raise ArgumentValueError(f"{unknown[0]!r} is no input of this model; its inputs are {', '.join(inputs)}")
        if max_batch_size < 1:
            raise ArgumentValueError(f"max_batch_size must be a positive number, not {max_batch_size}")
        self.predictor = predictor
        # Questions that were answered, and those among them that were so by an error.
        self.answered = 0
        self.failed = 0
        self._database = client.database
        self._prefixes = {name: prefixes.get(name, name).encode() for name in inputs}
        self._first = self._prefixes[inputs[0]]
        self._keep_questions = keep_questions
        self._max_batch_size = max_batch_size
        self._watch = watch
        self._reload_interval_s = reload_interval_s
        entities = [source.encode(errors="surrogateescape") for source in client.sources] or [b""]
        self._finder = QuestionFinder(client.database, self._first, entities, are_kept=keep_questions)
        self._stopped = threading.Event()

    @property
    def pattern(self) -> str:
        """What keys of questions look like."""
        return f"{self._first.decode()}_<rank>_<iteration>"

    def run(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Answer until stopped, or until `is_over`. A database that goes away is waited for."""
        reloading = threading.Thread(target=self._reload, name="smartml-reload", daemon=True)
        if self._watch is not None:
            reloading.start()
        pause_s = _SHORTEST_PAUSE_S
        while not self._stopped.is_set() and not is_over():
            try:
                is_idle = self.answer_waiting() == 0
            except StoreError as error:
                logger.warning("%s; trying again", error)
                self._stopped.wait(_RETRY_PAUSE_S)
                continue
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S) if is_idle else _SHORTEST_PAUSE_S
            if is_idle:
                self._stopped.wait(pause_s)
        self._stopped.set()
        if self._watch is not None:
            reloading.join()

    def stop(self) -> None:
        """End `run`, when what it is answering is answered. Called from any thread, or by a signal."""
        self._stopped.set()

    def answer_waiting(self) -> int:
        """Answer what waits now; return how many questions that were."""
        questions = self._finder.find()[:_QUESTIONS_AT_ONCE]
        ready = self._complete(questions)
        if ready:
            self._answer(ready)
        return len(ready)

    def _complete(self, questions: Sequence[Question]) -> list[Question]:
        """Leave out those of which other tensors are still to come."""
        others = [prefix for prefix in self._prefixes.values() if prefix != self._first]
        if not others or not questions:
            return list(questions)
        keys = [question.key(prefix) for question in questions for prefix in others]
        is_there = np.array(self._database.exist(keys)).reshape(len(questions), len(others)).all(axis=1)
        return [question for question, is_whole in zip(questions, is_there, strict=True) if is_whole]

    def _answer(self, questions: Sequence[Question]) -> None:
        predictor = self.predictor
        requests = [(question, self._read(question, values)) for question, values in self._fetch(questions)]
        good = [samples for _, samples in requests if not isinstance(samples, SmartMLError)]
        outcomes = iter(predictor.answer(good, batch_size=self._max_batch_size) if good else [])
        values: dict[bytes, Any] = {}
        for question, samples in requests:
            outcome = samples if isinstance(samples, SmartMLError) else next(outcomes)
            self.failed += isinstance(outcome, BaseException)
            for name, tensor in self._reply(outcome).items():
                values[question.key(name)] = tensors.encode(tensor)
        done = [question for question, _ in requests]
        self._put(values, [question.key(prefix) for question in done for prefix in self._prefixes.values()])
        for question in done:
            self._finder.settle(question)
        self.answered += len(done)

    def _put(self, answers: Mapping[bytes, Any], questions: Sequence[bytes]) -> None:
        """Put answers, and delete the questions unless they are kept.

        Both in one act: whoever has the answer may use the name of the question again, and one who dies in between has
        lost nothing. In a cluster that would need one slot; there a question goes just before its answer comes.
        """
        if self._keep_questions or not answers:
            put_when_there_is_room(self._database, lambda: self._database.set_values(answers))
            return
        deletions = [(b"UNLINK", key) for key in questions]
        if self._database.is_cluster:
            self._database.each(deletions)
            put_when_there_is_room(self._database, lambda: self._database.set_values(answers))
            return
        commands = [*deletions, *((b"SET", key, value) for key, value in answers.items())]
        put_when_there_is_room(self._database, lambda: self._database.transaction(questions[0], *commands))

    def _fetch(self, questions: Sequence[Question]) -> list[tuple[Question, list[Any]]]:
        """Read the values of questions that are there still; in the place of one that is no string an error."""
        keys = [question.key(prefix) for question in questions for prefix in self._prefixes.values()]
        try:
            values: list[Any] = list(self._database.fetch(keys))
        except TensorFormatError:
            values = [self._fetch_one(key) for key in keys]
        count = len(self._prefixes)
        rows = [(question, values[count * i : count * (i + 1)]) for i, question in enumerate(questions)]
        # Another worker was quicker, or whoever asked has thought better of it.
        return [(question, row) for question, row in rows if not any(value is None for value in row)]

    def _fetch_one(self, key: bytes) -> Any:
        try:
            return self._database.fetch([key])[0]
        except TensorFormatError as error:
            return error

    def _read(self, question: Question, values: Sequence[Any]) -> Any:
        """Return the samples of a question, or the error that it is answered by."""
        inputs: dict[str, NDArray[Any]] = {}
        try:
            for (name, prefix), value in zip(self._prefixes.items(), values, strict=True):
                if isinstance(value, SmartMLError):
                    return value
                inputs[name] = tensors.decode(value, question.key(prefix))
            return samples_from(inputs, self.predictor.description)
        except SmartMLError as error:
            return error

    def _reply(self, outcome: Outcome) -> dict[bytes, NDArray[Any]]:
        if isinstance(outcome, BaseException):
            return {self._first + b"_error": np.frombuffer(str(outcome).encode(), np.uint8)}
        answers = tensors_from(outcome, self.predictor.description)
        return {name.encode(): tensor for name, tensor in answers.items()}

    def _reload(self) -> None:
        assert self._watch is not None
        while not self._stopped.wait(self._reload_interval_s):
            found = self._watch.look()
            if found is not None:
                self.predictor = found
