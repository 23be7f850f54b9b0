"""Scripts that the database runs: set, get, delete, look, run."""

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

from smartml.store.arguments import Names, PathLike, read_script_file
from smartml.store.keys import checked_name
from smartml.store.models import (
    Gpus,
    checked_device,
    checked_source,
    function_source,
    run_script_command,
    store_script_command,
)
from smartml.store.session import Session
from smartml.store.transport import Command


class ScriptCommands(Session):
    """The part of `Client` that speaks of scripts: functions in TorchScript, kept and run as models are."""

    def set_script(self, name: str, script: str, device: str = "CPU") -> None:
        """Store a script, its source, replacing what is there; `device` as for `set_model`."""
        self._store_script({self._keys.model(name, write=True): checked_device(device)}, script)

    def set_script_from_file(self, name: str, file: PathLike, device: str = "CPU") -> None:
        """Store a script that lies in a file; raises ModelFileError where that is not there."""
        self.set_script(name, read_script_file(file), device)

    def set_function(self, name: str, function: Callable[..., Any], device: str = "CPU") -> None:
        """Store a function as a script of its own; it must be such that TorchScript understands its source."""
        self.set_script(name, function_source(function), device)

    def set_script_multigpu(self, name: str, script: str, first_gpu: SupportsIndex, num_gpus: SupportsIndex) -> None:
        """Store a copy of a script for each of `num_gpus` GPUs, from `first_gpu` on, and one for any of them."""
        self._store_script(Gpus.check(first_gpu, num_gpus).copies(self._keys.model(name, write=True)), script)

    def set_script_from_file_multigpu(
        self, name: str, file: PathLike, first_gpu: SupportsIndex, num_gpus: SupportsIndex
    ) -> None:
        """Store a script that lies in a file as `set_script_multigpu` does."""
        self.set_script_multigpu(name, read_script_file(file), first_gpu, num_gpus)

    def set_function_multigpu(
        self, name: str, function: Callable[..., Any], first_gpu: SupportsIndex, num_gpus: SupportsIndex
    ) -> None:
        """Store a function as `set_script_multigpu` stores a script."""
        self.set_script_multigpu(name, function_source(function), first_gpu, num_gpus)

    def _store_script(self, copies: dict[bytes, str], script: str) -> None:
        source = checked_source(script)

        def command(device: str) -> Callable[[bytes], Command]:
            return lambda copy: store_script_command(copy, device, source)

        commands = {key: command(device) for key, device in copies.items()}
        self._put_when_there_is_room(lambda: self._scripts.store(commands))

    def get_script(self, name: str) -> str:
        """Fetch the source of a script; raises ScriptNotFoundError that names the nearest scripts."""
        return self._scripts.get(self._keys.model(name), b"SOURCE").decode(errors="replace")

    def delete_script(self, name: str) -> None:
        """Delete a script; raises ScriptNotFoundError when there is none."""
        self._scripts.delete([self._keys.model(name)])

    def delete_script_multigpu(self, name: str, first_gpu: SupportsIndex, num_gpus: SupportsIndex) -> None:
        """Delete all copies of a script; raises ScriptNotFoundError for a missing one, when the others are gone."""
        self._scripts.delete(Gpus.check(first_gpu, num_gpus).copies(self._keys.model(name)))

    def script_exists(self, name: str) -> bool:
        """Tell whether a script is stored under a name."""
        return self._scripts.exists(self._keys.model(name))

    def poll_script(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart, whether a script exists."""
        return self._poll(lambda: self.script_exists(name), poll_frequency_ms, num_tries)

    def run_script(self, name: str, fn_name: str, inputs: Names = None, outputs: Names = None) -> None:
        """Run a function of a script on tensors of the database; the rest is as for `run_model`."""
        self._run_script(self._keys.model(name), fn_name, inputs, outputs)

    def run_script_multigpu(
        self,
        name: str,
        fn_name: str,
        inputs: Names,
        outputs: Names,
        offset: SupportsIndex,
        first_gpu: SupportsIndex,
        num_gpus: SupportsIndex,
    ) -> None:
        """Run a function in one of the copies of a script, that for `offset` modulo `num_gpus`."""
        gpus = Gpus.check(first_gpu, num_gpus)
        self._run_script(gpus.key(self._keys.model(name), offset), fn_name, inputs, outputs)

    def _run_script(self, key: bytes, fn_name: str, inputs: Names, outputs: Names) -> None:
        function = checked_name(fn_name, "function")
        read, written = self._tensors_of_run(inputs, outputs)

        def word(copy: bytes, sources: Sequence[bytes], results: Sequence[bytes]) -> Command:
            return run_script_command(copy, function, sources, results)

        self._put_when_there_is_room(lambda: self._scripts.run(key, read, written, word))
