"""PBS: batch settings and script text of `qsub`, of PBS Professional, OpenPBS and Torque.

Options as in qsub(1B) of the PBS Professional Reference Guide, https://help.altair.com/2024.1.0/PBS%20Professional/.
"""

from collections.abc import Mapping, Sequence

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.batch import BatchSettings, directive_value, qsub_placement
from smartml.experiment.schedulers.options import OptionValue, check_walltime, count, names
from smartml.experiment.schedulers.settings import Placement

# The value of a resource: `-l name=value`.
Resource = str | int


class QsubBatchSettings(BatchSettings):
    """Describe a job of PBS.

    Nodes are asked for by `nodes`, or by `resources={"select": n}`, not by both; `ncpus` and the hosts belong to each.
    """

    directive = "#PBS"
    reserved_batch_args = frozenset({"o", "e", "N"})

    def __init__(
        self,
        nodes: int | None = None,
        ncpus: int | None = None,
        time: str | None = None,
        queue: str | None = None,
        account: str | None = None,
        resources: Mapping[str, Resource] | None = None,
        batch_args: Mapping[str, OptionValue] | None = None,
    ) -> None:
        self._resources: dict[str, Resource] = {}
        self._hosts: list[str] = []
        for name, value in (resources or {}).items():
            self.set_resource(name, value)
        if nodes and "nodes" in self._resources:
            raise ArgumentValueError(f"nodes={nodes} and resources['nodes']={self._resources['nodes']}: give one")
        self._ncpus = None if ncpus is None else count("ncpus", ncpus)
        super().__init__("qsub", batch_args, nodes=nodes, queue=queue, time=time, account=account)

    @property
    def resources(self) -> dict[str, Resource]:
        """The resources asked for, by name."""
        return dict(self._resources)

    @resources.setter
    def resources(self, resources: Mapping[str, Resource]) -> None:
        self._resources = {}
        for name, value in resources.items():
            self.set_resource(name, value)

    def set_resource(self, resource_name: str, value: Resource) -> None:
        """Ask for a resource: `-l name=value`."""
        if not isinstance(resource_name, str):
            raise ArgumentTypeError(f"the name of a resource must be a str, got {resource_name!r}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ArgumentTypeError(f"resource {resource_name!r} must be a str or an int, got {value!r}")
        self._resources[resource_name] = value

    def set_nodes(self, num_nodes: int) -> None:
        """Set the number of nodes."""
        self.set_resource("nodes", count("nodes", num_nodes))

    def set_ncpus(self, num_cpus: int | str) -> None:
        """Set the number of CPUs of each node."""
        self._ncpus = count("ncpus", num_cpus)

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts to run on."""
        self._hosts = names("host_list", host_list)

    def set_walltime(self, walltime: str) -> None:
        """Set how long the job may run, as `HH:MM:SS`."""
        self.set_resource("walltime", check_walltime(walltime, r"\d+(:\d{1,2}){0,2}", "HH:MM:SS, MM:SS, seconds"))

    def set_queue(self, queue: str) -> None:
        """Set the queue to wait in."""
        self.batch_args["q"] = str(queue)

    def set_account(self, account: str) -> None:
        """Set the account that pays."""
        self.batch_args["A"] = str(account)

    def format_batch_args(self) -> list[str]:
        """Return the options as they stand in the script. Raises ArgumentValueError when they contradict each other."""
        options = [f"-l {self._selection()}"]
        others = {name: value for name, value in self._resources.items() if name not in ("nodes", "select")}
        options += [f"-l {name}={directive_value(name, value)}" for name, value in others.items()]
        for name, value in self._options().items():
            if value is None or value == "":
                raise ArgumentValueError(f"PBS has no option without a value: batch argument {name!r} needs one")
            options.append(f"-{name} {directive_value(name, value)}")
        return options

    def header(self, placement: Placement) -> list[str]:
        """Return the options of the job: where it writes, its name, that it gets our variables, what it asks for."""
        return [*qsub_placement(placement), *self.format_batch_args()]

    def _selection(self) -> str:
        chosen = [name for name in ("nodes", "select") if name in self._resources]
        if len(chosen) != 1:
            what = "both" if chosen else "neither"
            raise ArgumentValueError(f"PBS needs either nodes or the resource 'select', got {what}: use set_nodes(n)")
        value = self._resources[chosen[0]]
        if not isinstance(value, int):
            raise ArgumentTypeError(
                f"resource {chosen[0]!r} must be an int, got {value!r}: use ncpus and hosts beside it"
            )
        hosts = "+".join(f"host={host}" for host in self._hosts)
        parts = (f"{chosen[0]}={value}", f"ncpus={self._ncpus}" if self._ncpus else "", hosts)
        return ":".join(part for part in parts if part)
