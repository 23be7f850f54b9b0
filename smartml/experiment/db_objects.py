"""Models and scripts that programs run in a database: described here, put there before the programs start."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartml.errors import ArgumentValueError, DuplicateNameError, PathNotFoundError, UnsupportedError
from smartml.experiment.files import PathLike
from smartml.store import Client
from smartml.store.arguments import Names, checked_count, checked_int, read_model_file, read_script_file
from smartml.store.keys import checked_name
from smartml.store.models import (
    Content,
    Gpus,
    ModelOptions,
    checked_backend,
    checked_content,
    checked_device,
    checked_source,
    function_source,
)

# Linux takes no longer argument than 128 KiB.
_MAX_TEXT = 100_000


@dataclass(frozen=True)
class Devices:
    """Where a model or script is run: on one device, or by one copy on each of several GPUs."""

    device: str = "CPU"
    gpus: Gpus | None = None

    @classmethod
    def check(cls, device: str, devices_per_node: int, first_device: int) -> "Devices":
        """Make one of what a caller gave. Raises ArgumentValueError, and UnsupportedError for several CPUs."""
        # SmartSim raises a ValueError where SmartRedis raises a TypeError.
        wanted = checked_device(device, ArgumentValueError)
        first, count = checked_count(first_device, "first_device"), checked_int(devices_per_node, "devices_per_node")
        if count < 1:
            raise ArgumentValueError(f"devices_per_node must be at least 1: {count}")
        if count == 1 and first == 0:
            return cls(wanted)
        if wanted == "CPU":
            raise UnsupportedError("devices_per_node and first_device are for GPUs: the CPU is one device")
        if wanted != "GPU":
            raise ArgumentValueError(f"device {device!r} is one GPU: say 'GPU' for {count} of them from {first} on")
        return cls("GPU", Gpus(first, count)) if count > 1 else cls(f"GPU:{first}")

    def __str__(self) -> str:
        gpus = self.gpus
        return self.device if gpus is None else f"GPU:{gpus.first} to GPU:{gpus.first + gpus.number - 1}"


@dataclass(frozen=True)
class DBModel:
    """A model for databases, from memory or, where there is a `file`, read from it when it is put there."""

    name: str
    devices: Devices
    options: ModelOptions
    model: bytes | None = None
    file: Path | None = None

    def __str__(self) -> str:
        return f"model {self.name!r}, {self.options.backend} on {self.devices}, from {self.file or 'memory'}"

    def put(self, client: Client) -> None:
        """Put it into a database, replacing what is there under its name."""
        model = self.model if self.file is None else read_model_file(self.file)
        assert model is not None, "it is from memory or from a file"
        one = self.options
        rest = (one.batch_size, one.min_batch_size, one.min_batch_timeout, one.tag, one.inputs, one.outputs)
        if (gpus := self.devices.gpus) is not None:
            client.set_model_multigpu(self.name, model, one.backend, gpus.first, gpus.number, *rest)
        else:
            client.set_model(self.name, model, one.backend, self.devices.device, *rest)

    def is_in(self, client: Client) -> bool:
        """Tell whether a database has a model of its name."""
        return client.model_exists(self.name)


@dataclass(frozen=True)
class DBScript:
    """A script for databases, from memory or, where there is a `file`, read from it when it is put there."""

    name: str
    devices: Devices
    script: str | None = None
    file: Path | None = None

    def __str__(self) -> str:
        return f"script {self.name!r} on {self.devices}, from {self.file or 'memory'}"

    def put(self, client: Client) -> None:
        """Put it into a database, replacing what is there under its name."""
        script = self.script if self.file is None else read_script_file(self.file)
        assert script is not None, "it is from memory or from a file"
        if (gpus := self.devices.gpus) is not None:
            client.set_script_multigpu(self.name, script, gpus.first, gpus.number)
        else:
            client.set_script(self.name, script, self.devices.device)

    def is_in(self, client: Client) -> bool:
        """Tell whether a database has a script of its name."""
        return client.script_exists(self.name)


DBObject = DBModel | DBScript


class DBObjects:
    """Base of Model and Ensemble: what their programs run in a database is described with them.

    It is put into every database of the experiment just before they start, once for all of them, and into the one on
    the program's node when that starts.
    """

    name: str

    def add_ml_model(
        self,
        name: str,
        backend: str,
        model: Content | None = None,
        model_path: PathLike | None = None,
        device: str = "CPU",
        devices_per_node: int = 1,
        first_device: int = 0,
        batch_size: int = 0,
        min_batch_size: int = 0,
        min_batch_timeout: int = 0,
        tag: str = "",
        inputs: Names = None,
        outputs: Names = None,
    ) -> None:
        """Have a model put into the databases, for `Client.run_model`; either its bytes or the path of its file.

        devices_per_node, first_device: a copy for each of so many GPUs, from that one on (`run_model_multigpu`). The
        rest is as for `Client.set_model`. Raises PathNotFoundError, ArgumentValueError, DuplicateNameError, and
        UnsupportedError for a model from memory where the program has a database on its node.
        """
        devices = Devices.check(device, devices_per_node, first_device)
        options = {
            "batch_size": batch_size,
            "min_batch_size": min_batch_size,
            "min_batch_timeout": min_batch_timeout,
            "tag": tag,
            "inputs": inputs,
            "outputs": outputs,
        }
        self.add_db_object(describe_model(name, backend, model, model_path, devices, options))

    def add_script(
        self,
        name: str,
        script: str | None = None,
        script_path: PathLike | None = None,
        device: str = "CPU",
        devices_per_node: int = 1,
        first_device: int = 0,
    ) -> None:
        """Have a script put into the databases, for `Client.run_script`; either its source or the path of its file.

        The rest is as for `add_ml_model`.
        """
        devices = Devices.check(device, devices_per_node, first_device)
        self.add_db_object(describe_script(name, script, script_path, devices))

    def add_function(
        self,
        name: str,
        function: Callable[..., Any] | None = None,
        device: str = "CPU",
        devices_per_node: int = 1,
        first_device: int = 0,
    ) -> None:
        """Have a function put into the databases, as a script of its own; the rest is as for `add_script`."""
        devices = Devices.check(device, devices_per_node, first_device)
        self.add_db_object(describe_function(name, function, devices))

    def add_db_object(self, one: DBObject) -> None:
        """Take in what was described."""
        raise NotImplementedError


def check_new(one: DBObject, known: Iterable[DBObject], of: str) -> None:
    """Raise DuplicateNameError when something of that name is there: models and scripts share their names."""
    if any(one.name == other.name for other in known):
        raise DuplicateNameError(f"{of} has a model or script {one.name!r} already: give this one another name")


def describe_model(
    name: str,
    backend: str,
    model: Content | None,
    model_path: PathLike | None,
    devices: Devices,
    options: Mapping[str, Any],
) -> DBModel:
    """Describe a model by what `Model.add_ml_model` was given."""
    checked_name(name, "model")
    checked_backend(backend, ArgumentValueError)
    file = _one_of("model", model, "model_path", model_path, name)
    content = None if model is None else bytes(checked_content(model))
    return DBModel(name, devices, ModelOptions.check(backend, devices.device, **options), content, file)


def describe_script(name: str, script: str | None, script_path: PathLike | None, devices: Devices) -> DBScript:
    """Describe a script by what `Model.add_script` was given."""
    checked_name(name, "script")
    file = _one_of("script", script, "script_path", script_path, name)
    return DBScript(name, devices, None if script is None else checked_source(script).decode(), file)


def describe_function(name: str, function: Callable[..., Any] | None, devices: Devices) -> DBScript:
    """Describe a script of one function by what `Model.add_function` was given."""
    checked_name(name, "script")
    if function is None:
        raise ArgumentValueError(f"{name!r} needs a function")
    return DBScript(name, devices, function_source(function))


def to_fields(objects: Sequence[DBObject], of: str) -> tuple[Mapping[str, Any], ...]:
    """Return what is put into a database on another node as JSON takes it.

    Raises UnsupportedError for models from memory, and when there are scripts of more than so much text.
    """
    for one in objects:
        if isinstance(one, DBModel) and one.file is None:
            raise UnsupportedError(
                f"model {one.name!r} is given from memory, and {of!r} has a database on its node, which must read it "
                "from a file: give model_path"
            )
    fields = tuple(
        {key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(one).items()}
        for one in objects
    )
    if len(json.dumps(fields)) > _MAX_TEXT:
        raise UnsupportedError(
            f"the scripts of {of!r} are too long to travel to the database on its node: give them by script_path"
        )
    return fields


def from_fields(fields: Mapping[str, Any]) -> DBObject:
    """Read one of what `to_fields` has written."""
    gpus = fields["devices"]["gpus"]
    devices = Devices(fields["devices"]["device"], gpus and Gpus(**gpus))
    file = fields["file"] and Path(fields["file"])
    if "options" not in fields:
        return DBScript(fields["name"], devices, fields["script"], file)
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields["options"].items()
    }
    return DBModel(fields["name"], devices, ModelOptions(**options), file=file)


def state_of(one: DBObject) -> object:
    """Return what equals another such object only if both would put the same into a database."""
    if one.file is not None:
        with contextlib.suppress(OSError):
            found = one.file.stat()
            return one, found.st_mtime_ns, found.st_size
    return one


def _one_of(what: str, content: object, path_name: str, path: PathLike | None, name: str) -> Path | None:
    """Return the path of what is given as a file, None for what is given itself."""
    if (content is None) == (path is None):
        raise ArgumentValueError(
            f"{name!r} needs either {what} or {path_name}, not {'both' if path else 'none of them'}"
        )
    if path is None:
        return None
    file = Path(path).absolute()
    if not file.is_file():
        raise PathNotFoundError(f"{path_name} of {name!r} is not there: {file}")
    return file
