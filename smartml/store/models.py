"""Models and scripts as a database keeps them to run: how they are described, named, and set (pure).

Commands are RedisAI's, in the words of SmartRedis's client (spec: SmartRedis on the wire, 5.4).
"""

import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex, TypeAlias

from smartml.errors import ArgumentTypeError, ArgumentValueError, SmartMLError
from smartml.store.arguments import Names, checked_count, checked_int, checked_names, checked_text
from smartml.store.keys import encoded_text
from smartml.store.transport import Argument, Command

# What has the bytes of a model.
Content: TypeAlias = bytes | bytearray | memoryview

BACKENDS = ("TF", "TFLITE", "TORCH", "ONNX")
# What is needed to know which arrays of a graph go in and come out; others say so themselves.
_WITH_NAMED_ARRAYS = "TF"


@dataclass(frozen=True)
class ModelOptions:
    """How a model is run: by what, where, and how many calls at once; 0 stands for no wish."""

    backend: str
    device: str = "CPU"
    # The most samples, along axis 0, to run together; at least so many to wait for, and for how long (ms).
    batch_size: int = 0
    min_batch_size: int = 0
    min_batch_timeout: int = 0
    tag: str = ""
    # The arrays of a TensorFlow graph that go in and come out.
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @classmethod
    def check(
        cls,
        backend: str,
        device: str = "CPU",
        batch_size: SupportsIndex = 0,
        min_batch_size: SupportsIndex = 0,
        min_batch_timeout: SupportsIndex = 0,
        tag: str = "",
        inputs: Names = None,
        outputs: Names = None,
    ) -> "ModelOptions":
        """Make options of what a caller gave. Raises ArgumentTypeError, ArgumentValueError."""
        made = cls(
            checked_backend(backend),
            checked_device(device),
            checked_count(batch_size, "batch_size"),
            checked_count(min_batch_size, "min_batch_size"),
            checked_count(min_batch_timeout, "min_batch_timeout"),
            checked_text(tag, "tag"),
            tuple(checked_names(inputs, "inputs")),
            tuple(checked_names(outputs, "outputs")),
        )
        if made.min_batch_size and not made.batch_size:
            raise ArgumentValueError(
                f"min_batch_size={made.min_batch_size} needs a batch_size, the most to run at once"
            )
        if made.min_batch_timeout and not made.min_batch_size:
            raise ArgumentValueError(
                f"min_batch_timeout={made.min_batch_timeout} ms needs a min_batch_size to wait for"
            )
        named = made.inputs or made.outputs
        if made.backend == _WITH_NAMED_ARRAYS and not (made.inputs and made.outputs):
            raise ArgumentValueError("a TF model needs inputs and outputs: the names of the arrays in its graph")
        if named and made.backend != _WITH_NAMED_ARRAYS:
            raise ArgumentValueError(
                f"inputs and outputs are for TF models alone; a {made.backend} model takes arrays in their order"
            )
        return made

    def on(self, device: str) -> "ModelOptions":
        """Return these options for another device."""
        return replace(self, device=device)

    def store_command(self, key: bytes, model: memoryview, chunk_size: int) -> Command:
        """Return the command that stores a model, in pieces of so many bytes."""
        words: list[Argument] = [b"AI.MODELSTORE", key, self.backend.encode(), self.device.encode()]
        if self.tag:
            words += [b"TAG", encoded_text(self.tag, "tag")]
        for name, value in (
            (b"BATCHSIZE", self.batch_size),
            (b"MINBATCHSIZE", self.min_batch_size),
            (b"MINBATCHTIMEOUT", self.min_batch_timeout),
        ):
            if value:
                words += [name, b"%d" % value]
        for name, arrays in ((b"INPUTS", self.inputs), (b"OUTPUTS", self.outputs)):
            if arrays:
                words += [name, b"%d" % len(arrays), *(array.encode() for array in arrays)]
        chunks = (model[start : start + chunk_size] for start in range(0, len(model), chunk_size))
        return [*words, b"BLOB", *chunks]


def run_command(key: bytes, inputs: Sequence[bytes], outputs: Sequence[bytes], timeout_ms: int) -> Command:
    """Return the command that runs a model on tensors."""
    return [
        *(b"AI.MODELEXECUTE", key, b"INPUTS", b"%d" % len(inputs), *inputs),
        *(b"OUTPUTS", b"%d" % len(outputs), *outputs, b"TIMEOUT", b"%d" % timeout_ms),
    ]


def run_script_command(key: bytes, function: bytes, inputs: Sequence[bytes], outputs: Sequence[bytes]) -> Command:
    """Return the command that runs a function of a script on tensors."""
    return [b"AI.SCRIPTRUN", key, function, b"INPUTS", *inputs, b"OUTPUTS", *outputs]


def store_script_command(key: bytes, device: str, source: bytes) -> Command:
    """Return the command that stores a script."""
    return [b"AI.SCRIPTSET", key, device.encode(), b"SOURCE", source]


# Several GPUs


@dataclass(frozen=True)
class Gpus:
    """The GPUs that have a copy of a model or script each: `number` of them, from `first` on."""

    first: int
    number: int

    @classmethod
    def check(cls, first_gpu: SupportsIndex, num_gpus: SupportsIndex) -> "Gpus":
        """Make one of what a caller gave. Raises ArgumentTypeError, ArgumentValueError."""
        first, number = checked_count(first_gpu, "first_gpu"), checked_int(num_gpus, "num_gpus")
        if number < 1:
            raise ArgumentValueError(f"num_gpus must be at least 1: {number}")
        return cls(first, number)

    def copies(self, key: bytes) -> dict[bytes, str]:
        """Return the keys of all copies and the device of each; the plain key, on any GPU, comes last.

        SmartRedis makes copies for the GPUs before `number` alone, whatever the first one is.
        """
        own = {gpu_key(key, gpu): f"GPU:{gpu}" for gpu in range(self.first, self.first + self.number)}
        return {**own, key: "GPU"}

    def key(self, key: bytes, offset: SupportsIndex) -> bytes:
        """Return the key of the copy that a caller of some number, such as its rank, shall run."""
        return gpu_key(key, self.first + checked_count(offset, "offset") % self.number)


def gpu_key(key: bytes, gpu: int) -> bytes:
    """Return the key of the copy on a GPU."""
    return key + b".GPU:%d" % gpu


def checked_backend(backend: str, error: type[SmartMLError] = ArgumentTypeError) -> str:
    """Return the name of a backend in capitals, or raise an error; SmartRedis raises a TypeError."""
    if not isinstance(backend, str) or backend.upper() not in BACKENDS:
        raise error(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r:.80}")
    return backend.upper()


def checked_device(device: str, error: type[SmartMLError] = ArgumentTypeError) -> str:
    """Return the name of a device in capitals, or raise an error; SmartRedis raises a TypeError."""
    kind, colon, number = device.upper().partition(":") if isinstance(device, str) else ("", "", "")
    if kind not in ("CPU", "GPU") or (colon and (kind == "CPU" or not number.isdecimal())):
        raise error(f"device must be 'CPU', 'GPU', or one GPU such as 'GPU:1', not {device!r:.80}")
    return device.upper()


def checked_content(model: Content) -> memoryview:
    """Return the bytes of a model. Raises ArgumentTypeError, ArgumentValueError."""
    if not isinstance(model, bytes | bytearray | memoryview):
        raise ArgumentTypeError(f"a model must be bytes, as its framework saves it, not {type(model).__name__}")
    content = memoryview(model).cast("B")
    if not content:
        raise ArgumentValueError("a model must not be empty")
    return content


def checked_source(script: str) -> bytes:
    """Return the source of a script. Raises ArgumentTypeError, ArgumentValueError."""
    source = encoded_text(checked_text(script, "script"), "script")
    if not source.strip():
        raise ArgumentValueError("a script must not be empty")
    return source


def function_source(function: Callable[..., Any]) -> str:
    """Return the source of a function, which becomes a script of that one function.

    Raises ArgumentTypeError for what is no function, ArgumentValueError where its source is not known.
    """
    if not inspect.isfunction(function):
        raise ArgumentTypeError(
            f"a function is needed, written with def, not {type(function).__name__}: {function!r:.80}"
        )
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise ArgumentValueError(
            f"the source of {function.__qualname__} is not to be had ({error}); give it as text, by set_script"
        ) from error
    # What decorates it is not known in the database.
    start = 0 if source.startswith("def ") else source.find("\ndef ") + 1
    if not source[start:].startswith("def "):
        raise ArgumentValueError(f"{function.__qualname__} must be written with def, to be run in the database")
    return source[start:]
