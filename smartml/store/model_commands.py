"""Models that the database runs: set, get, delete, look, run."""

import os
from collections.abc import Callable, Sequence
from typing import SupportsIndex

from smartml.errors import ArgumentValueError
from smartml.store.arguments import Names, PathLike, checked_int, read_model_file
from smartml.store.models import Content, Gpus, ModelOptions, checked_content, run_command
from smartml.store.session import Session
from smartml.store.transport import Command

# How long a call may wait to be run, in ms; read at every call, as SmartRedis does.
_TIMEOUT_VARIABLE = "SR_MODEL_TIMEOUT"
# The longest time that fits into the server's number.
_MAX_TIMEOUT_MS = 2**53


class ModelCommands(Session):
    """The part of `Client` that speaks of models.

    A model is kept in the database, on every shard of a cluster, and run there by an inference worker.
    """

    def set_model(
        self,
        name: str,
        model: Content,
        backend: str,
        device: str = "CPU",
        batch_size: SupportsIndex = 0,
        min_batch_size: SupportsIndex = 0,
        min_batch_timeout: SupportsIndex = 0,
        tag: str = "",
        inputs: Names = None,
        outputs: Names = None,
    ) -> None:
        """Store a model, replacing what is there.

        model: the bytes that its framework saves. backend: "TORCH" (TorchScript), "ONNX", "TF" or "TFLITE". device:
        "CPU", "GPU", or one GPU such as "GPU:1". batch_size: calls may be run together that have so many samples along
        axis 0 at most; at least `min_batch_size` are waited for, `min_batch_timeout` ms. inputs, outputs: of a TF model
        the names of the arrays in its graph. Raises ArgumentTypeError, ArgumentValueError, TensorModuleError where the
        server cannot keep models.
        """
        options = ModelOptions.check(
            backend, device, batch_size, min_batch_size, min_batch_timeout, tag, inputs, outputs
        )
        self._store_model({self._keys.model(name, write=True): options}, model)

    def set_model_from_file(
        self,
        name: str,
        model_file: PathLike,
        backend: str,
        device: str = "CPU",
        batch_size: SupportsIndex = 0,
        min_batch_size: SupportsIndex = 0,
        min_batch_timeout: SupportsIndex = 0,
        tag: str = "",
        inputs: Names = None,
        outputs: Names = None,
    ) -> None:
        """Store a model that lies in a file; raises ModelFileError where that is not there."""
        model = read_model_file(model_file)
        rest = (batch_size, min_batch_size, min_batch_timeout, tag, inputs, outputs)
        self.set_model(name, model, backend, device, *rest)

    def set_model_multigpu(
        self,
        name: str,
        model: Content,
        backend: str,
        first_gpu: SupportsIndex,
        num_gpus: SupportsIndex,
        batch_size: SupportsIndex = 0,
        min_batch_size: SupportsIndex = 0,
        min_batch_timeout: SupportsIndex = 0,
        tag: str = "",
        inputs: Names = None,
        outputs: Names = None,
    ) -> None:
        """Store a copy of a model for each of `num_gpus` GPUs, from `first_gpu` on, and one for any of them."""
        options = ModelOptions.check(
            backend, "GPU", batch_size, min_batch_size, min_batch_timeout, tag, inputs, outputs
        )
        copies = Gpus.check(first_gpu, num_gpus).copies(self._keys.model(name, write=True))
        self._store_model({key: options.on(device) for key, device in copies.items()}, model)

    def set_model_from_file_multigpu(
        self,
        name: str,
        model_file: PathLike,
        backend: str,
        first_gpu: SupportsIndex,
        num_gpus: SupportsIndex,
        batch_size: SupportsIndex = 0,
        min_batch_size: SupportsIndex = 0,
        min_batch_timeout: SupportsIndex = 0,
        tag: str = "",
        inputs: Names = None,
        outputs: Names = None,
    ) -> None:
        """Store a model that lies in a file as `set_model_multigpu` does."""
        model = read_model_file(model_file)
        rest = (batch_size, min_batch_size, min_batch_timeout, tag, inputs, outputs)
        self.set_model_multigpu(name, model, backend, first_gpu, num_gpus, *rest)

    def _store_model(self, copies: dict[bytes, ModelOptions], model: Content) -> None:
        content = checked_content(model)
        chunk_size = self._models.chunk_size()

        def command(options: ModelOptions) -> Callable[[bytes], Command]:
            return lambda copy: options.store_command(copy, content, chunk_size)

        commands = {key: command(options) for key, options in copies.items()}
        self._put_when_there_is_room(lambda: self._models.store(commands))

    def get_model(self, name: str) -> bytes:
        """Fetch the bytes of a model; raises ModelNotFoundError that names the nearest models."""
        return self._models.get(self._keys.model(name), b"BLOB")

    def delete_model(self, name: str) -> None:
        """Delete a model; raises ModelNotFoundError when there is none."""
        self._models.delete([self._keys.model(name)])

    def delete_model_multigpu(self, name: str, first_gpu: SupportsIndex, num_gpus: SupportsIndex) -> None:
        """Delete all copies of a model; raises ModelNotFoundError for one that is missing, when the others are gone."""
        self._models.delete(Gpus.check(first_gpu, num_gpus).copies(self._keys.model(name)))

    def model_exists(self, name: str) -> bool:
        """Tell whether a model is stored under a name."""
        return self._models.exists(self._keys.model(name))

    def poll_model(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart, whether a model exists."""
        return self._poll(lambda: self.model_exists(name), poll_frequency_ms, num_tries)

    def run_model(self, name: str, inputs: Names = None, outputs: Names = None) -> None:
        """Run a model on tensors of the database; what comes out is stored under the names of `outputs`.

        Blocks until the outputs are there. Inputs are read, and outputs written, as tensors are, prefixes included.
        Raises ModelNotFoundError, TensorNotFoundError, InferenceError with the last line of the model's traceback, or
        when no worker runs models, and StoreTimeoutError when it takes longer than the client's `timeout_s`, or waits
        longer than SR_MODEL_TIMEOUT (ms) where that is set.
        """
        self._run_model(self._keys.model(name), inputs, outputs)

    def run_model_multigpu(
        self,
        name: str,
        offset: SupportsIndex,
        first_gpu: SupportsIndex,
        num_gpus: SupportsIndex,
        inputs: Names = None,
        outputs: Names = None,
    ) -> None:
        """Run one of the copies of a model, that for `offset` (such as the caller's rank) modulo `num_gpus`."""
        gpus = Gpus.check(first_gpu, num_gpus)
        self._run_model(gpus.key(self._keys.model(name), offset), inputs, outputs)

    def _run_model(self, key: bytes, inputs: Names, outputs: Names) -> None:
        read, written = self._tensors_of_run(inputs, outputs)
        timeout_ms = _timeout_ms(self._database.settings.timeout_s)

        def word(copy: bytes, sources: Sequence[bytes], results: Sequence[bytes]) -> Command:
            return run_command(copy, sources, results, timeout_ms)

        self._put_when_there_is_room(lambda: self._models.run(key, read, written, word))

    def set_model_chunk_size(self, chunk_size: SupportsIndex) -> None:
        """Choose the size of the pieces, in bytes, that models are sent in; on every server of a cluster."""
        size = checked_int(chunk_size, "chunk_size")
        if size < 1:
            raise ArgumentValueError(f"chunk_size must be at least 1: {size}")
        self._models.set_chunk_size(size)


def _timeout_ms(timeout_s: float) -> int:
    """Return how long a call may wait to be run: what the environment says, else as long as the client waits."""
    text = os.environ.get(_TIMEOUT_VARIABLE, "")
    if not text:
        return max(1, min(round(1000 * timeout_s), _MAX_TIMEOUT_MS))
    if not text.isdecimal() or not 0 < int(text) <= _MAX_TIMEOUT_MS:
        raise ArgumentValueError(f"{_TIMEOUT_VARIABLE} must be a number of milliseconds from 1 on, not {text!r:.80}")
    return int(text)
