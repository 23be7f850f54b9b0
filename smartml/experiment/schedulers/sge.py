"""Grid Engine (SGE): batch settings and script text of its `qsub`.

Options as in qsub(1) of Grid Engine, https://gridscheduler.sourceforge.net/htmlman/htmlman1/qsub.html.
"""

from collections.abc import Mapping, Sequence

from smartml.errors import ArgumentTypeError, ArgumentValueError, UnsupportedError
from smartml.experiment.schedulers.batch import BatchSettings, directive_value, qsub_placement
from smartml.experiment.schedulers.options import OptionValue, check_walltime, count
from smartml.experiment.schedulers.settings import Placement

# What can be done to a context variable: add, set, delete.
_ACTIONS = ("ac", "sc", "dc")


class SgeQsubBatchSettings(BatchSettings):
    """Describe a job of Grid Engine, which gives CPUs of a parallel environment (`pe_type`), not nodes."""

    directive = "#$"
    reserved_batch_args = frozenset({"o", "e", "N"})

    def __init__(
        self,
        time: str | None = None,
        ncpus: int | None = None,
        pe_type: str | None = None,
        account: str | None = None,
        shebang: str = "#!/bin/bash -l",
        resources: Mapping[str, str | int] | None = None,
        batch_args: Mapping[str, OptionValue] | None = None,
    ) -> None:
        self._resources: dict[str, str | int] = {}
        self._context: list[str] = []
        self._ncpus = None if ncpus is None else count("ncpus", ncpus)
        self._pe_type = pe_type
        self.set_shebang(shebang)
        for name, value in (resources or {}).items():
            self.set_resource(name, value)
        super().__init__("qsub", batch_args, time=time, account=account)

    @property
    def resources(self) -> dict[str, str | int]:
        """The resources asked for, by name."""
        return dict(self._resources)

    @resources.setter
    def resources(self, resources: Mapping[str, str | int]) -> None:
        self._resources = {}
        for name, value in resources.items():
            self.set_resource(name, value)

    def set_resource(self, resource_name: str, value: str | int) -> None:
        """Ask for a resource: `-l name=value`."""
        if not isinstance(resource_name, str):
            raise ArgumentTypeError(f"the name of a resource must be a str, got {resource_name!r}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ArgumentTypeError(f"resource {resource_name!r} must be a str or an int, got {value!r}")
        self._resources[resource_name] = value

    def set_shebang(self, shebang: str) -> None:
        """Set the first line of the script; the rest of it is written for bash."""
        if not isinstance(shebang, str) or not shebang.startswith("#!") or "\n" in shebang:
            raise ArgumentValueError(f"a shebang is one line that begins with '#!', got {shebang!r}")
        self.shebang = shebang

    def set_nodes(self, num_nodes: int) -> None:
        """Raise UnsupportedError: Grid Engine gives no nodes."""
        if num_nodes:
            raise UnsupportedError(f"Grid Engine gives no nodes (got {num_nodes}): use set_ncpus and set_pe_type")

    def set_queue(self, queue: str) -> None:
        """Raise UnsupportedError: a parallel environment has its queues."""
        if queue:
            raise UnsupportedError(f"Grid Engine chooses the queue (got {queue!r}): use set_pe_type")

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Raise UnsupportedError: Grid Engine chooses the hosts."""
        raise UnsupportedError(f"Grid Engine chooses the hosts (got {host_list!r}): use set_pe_type, or a resource")

    def set_ncpus(self, num_cpus: int | str) -> None:
        """Set the number of CPUs; `set_pe_type` belongs to it."""
        self._ncpus = count("ncpus", num_cpus)

    def set_ngpus(self, num_gpus: int | str) -> None:
        """Set the number of GPUs."""
        self.set_resource("gpu", count("ngpus", num_gpus, at_least=0))

    def set_pe_type(self, pe_type: str) -> None:
        """Set the parallel environment; `set_ncpus` belongs to it."""
        self._pe_type = str(pe_type)

    def set_walltime(self, walltime: str) -> None:
        """Set how long the job may run, as `HH:MM:SS`."""
        self.set_resource("h_rt", check_walltime(walltime, r"\d+(:\d{1,2}){0,2}", "HH:MM:SS, MM:SS, seconds"))

    def set_hyperthreading(self, enable: bool = True) -> None:
        """Allow hardware threads, or not."""
        self.set_resource("threads", int(enable))

    def set_memory_per_pe(self, memory_spec: str) -> None:
        """Set the memory of each CPU, such as `2G`."""
        self.set_resource("mem", memory_spec)

    def set_threads_per_pe(self, threads_per_core: int) -> None:
        """Set how many threads each process may use (`OMP_NUM_THREADS`)."""
        self.batch_args["v"] = f"OMP_NUM_THREADS={count('threads_per_core', threads_per_core)}"

    def set_account(self, account: str) -> None:
        """Set the account that pays."""
        self.batch_args["A"] = str(account)

    def set_project(self, project: str) -> None:
        """Set the project that pays."""
        self.batch_args["P"] = str(project)

    def update_context_variables(self, action: str, var_name: str, value: int | str | None = None) -> None:
        """Add (`ac`), set (`sc`) or delete (`dc`) a variable of the job's context."""
        if action not in _ACTIONS:
            raise ArgumentValueError(f"action {action!r} is unknown; there are: {', '.join(_ACTIONS)}")
        if (value is not None) == (action == "dc"):
            rule = "takes no value" if action == "dc" else "needs a value"
            raise ArgumentValueError(f"action {action!r} of context variable {var_name!r} {rule}, got {value!r}")
        self._context.append(
            f"-{action} {var_name}" + ("" if value is None else f"={directive_value(var_name, value)}")
        )

    def format_batch_args(self) -> list[str]:
        """Return the options as they stand in the script. Raises ArgumentValueError when one of a pair is missing."""
        if (self._ncpus is None) != (self._pe_type is None):
            raise ArgumentValueError(f"ncpus ({self._ncpus}) and pe_type ({self._pe_type}) belong together: set both")
        options = [] if self._ncpus is None else [f"-pe {self._pe_type} {self._ncpus}"]
        options += self._context
        options += [f"-l {name}={directive_value(name, value)}" for name, value in self._resources.items()]
        for name, value in self._options().items():
            if value is None or value == "":
                raise ArgumentValueError(f"batch argument {name!r} needs a value")
            options.append(f"-{name} {directive_value(name, value)}")
        return options

    def header(self, placement: Placement) -> list[str]:
        """Return the options of the job: where it writes, its name, that it gets our variables, what it asks for."""
        return [*qsub_placement(placement), *self.format_batch_args()]
