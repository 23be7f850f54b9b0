"""How to run one program, whatever starts it: the base of all run settings, and what their setters share."""

import copy
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.containers import Container
from smartml.experiment.schedulers.options import OptionValue, count, joined_counts, names, text_of
from smartml.experiment.schedulers.programs import EnvValue, assignments, find_program, split_words

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """What a scheduler must be told of one program besides its settings."""

    # The name of the entity, and that by which the scheduler lists it.
    name: str
    job_name: str
    # The folder it runs in, and where its standard output and error go.
    folder: str
    out: str
    err: str
    # The allocation to run in; inside a batch job it is known without.
    allocation: str | None = None
    # Variables that the program gets besides its own, which win.
    environment: Mapping[str, str | None] = field(default_factory=dict)


class RunSettings:
    """Describe how to run one program.

    `exe` is looked up on the PATH at once, unless it is one of a container's; `python` and `python3` mean the
    interpreter that runs this script, whatever the PATH says, so that a script started from an environment that was not
    activated starts its programs in it. `exe_args`: a list, or one string, which is split as a shell would.
    `run_command` and `run_args` are put before the program as they are. A variable of `env_vars` whose value is None is
    taken over from the caller's environment. Raises ProgramNotFoundError.

    The setters are those of every kind of run settings, so that a script may change its launcher; what this kind has no
    option for is logged as a warning and otherwise ignored.
    """

    # The option that each setter sets, by the setter's name; those of a kind are the table in its file.
    options: ClassVar[Mapping[str, str]] = {}
    # Options that smartml sets itself.
    reserved_run_args: ClassVar[frozenset[str]] = frozenset()
    # Does the run command hand the variables to the program, and the output to its files? If not, a batch script does.
    hands_on_environment: ClassVar[bool] = False
    writes_output: ClassVar[bool] = False

    def __init__(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_command: str | None = "",
        run_args: Mapping[str, OptionValue] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        container: Container | None = None,
    ) -> None:
        if container is not None and not isinstance(container, Container):
            raise ArgumentTypeError(f"container must be a Container, such as Singularity(image), got {container!r}")
        self.exe = [text_of("exe", exe) if container else find_program(exe)]
        self.exe_args = split_words(exe_args)
        self.run_command = None if run_command in (None, "", "auto") else self._find_run_command(str(run_command))
        self.run_args: dict[str, OptionValue] = {}
        for name, value in copy.deepcopy(dict(run_args or {})).items():
            self.set(name, value)
        self.env_vars: dict[str, str | None] = {}
        self.update_env(env_vars or {})
        self.container = container
        # The other programs of a command that starts several.
        self.mpmd: list[RunSettings] = []
        # What stands before the program on its node, and becomes it (colocated.py).
        self.prelude: tuple[str, ...] = ()

    def add_exe_args(self, args: str | Sequence[str]) -> None:
        """Append arguments of the program."""
        self.exe_args += split_words(args)

    def update_env(self, env_vars: Mapping[str, EnvValue]) -> None:
        """Add environment variables; they win over all that smartml sets."""
        if not isinstance(env_vars, Mapping):
            raise ArgumentTypeError(f"env_vars must map names to values, got {type(env_vars).__name__}")
        for name, value in env_vars.items():
            if not isinstance(value, EnvValue):
                raise ArgumentTypeError(
                    f"environment variable {name!r} must be a str, number or bool, got {type(value).__name__}"
                )
            if not isinstance(name, str) or not name or "=" in name or "\0" in f"{name}{value}":
                raise ArgumentValueError(f"{name!r}={value!r} cannot be an environment variable")
        self.env_vars |= {name: None if value is None else str(value) for name, value in env_vars.items()}

    def set(self, arg: str, value: OptionValue = None, condition: bool = True) -> None:
        """Set an option of the run command, unless `condition` is false; None makes it one without a value.

        Leading dashes may be left out where the command's are known. What smartml sets itself is warned about and
        ignored.
        """
        name = self._option_name(text_of("the name of an option", arg))
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            raise ArgumentTypeError(
                f"option {arg!r} must be a str, a number, or None for an option without a value, got {value!r}"
            )
        if not condition:
            logger.info("option %r is not set: its condition does not hold", arg)
        elif name in self.reserved_run_args:
            logger.warning("option %r is set by smartml and cannot be by run settings: it is ignored", arg)
        else:
            if self.run_args.get(name, value) != value:
                logger.warning("option %r was %r and is now %r", arg, self.run_args[name], value)
            self.run_args[name] = value

    def set_nodes(self, nodes: int) -> None:
        """Set the number of nodes."""
        self._set_option("set_nodes", count("nodes", nodes))

    def set_tasks(self, tasks: int) -> None:
        """Set the number of processes."""
        self._set_option("set_tasks", count("tasks", tasks))

    def set_tasks_per_node(self, tasks_per_node: int) -> None:
        """Set the number of processes on each node."""
        self._set_option("set_tasks_per_node", count("tasks_per_node", tasks_per_node))

    def set_task_map(self, task_mapping: str) -> None:
        """Set how processes are spread, in the words of the run command."""
        self._set_option("set_task_map", text_of("task_mapping", task_mapping))

    def set_cpus_per_task(self, cpus_per_task: int) -> None:
        """Set the number of CPUs of each process."""
        self._set_option("set_cpus_per_task", count("cpus_per_task", cpus_per_task))

    def set_cpu_binding_type(self, bind_type: str) -> None:
        """Set what processes are bound to, in the words of the run command."""
        self._set_option("set_cpu_binding_type", text_of("bind_type", bind_type))

    def set_cpu_bindings(self, bindings: int | Sequence[int]) -> None:
        """Set the CPUs that processes are bound to."""
        self._set_option("set_cpu_bindings", self._cpu_bindings(joined_counts("bindings", bindings)))

    def set_binding(self, binding: str) -> None:
        """Set how processes are bound, in the words of the run command."""
        self._set_option("set_binding", text_of("binding", binding))

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts to run on."""
        self._set_option("set_hostlist", ",".join(names("host_list", host_list)))

    def set_hostlist_from_file(self, file_path: str | os.PathLike[str]) -> None:
        """Set the file that names the hosts to run on."""
        self._set_option("set_hostlist_from_file", os.fspath(file_path))

    def set_excluded_hosts(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts not to run on."""
        self._set_option("set_excluded_hosts", ",".join(names("host_list", host_list)))

    def set_memory_per_node(self, memory_per_node: int) -> None:
        """Set the memory on each node, in MiB (of jsrun for each resource set, of aprun for each process)."""
        self._set_option("set_memory_per_node", self._memory(count("memory_per_node", memory_per_node)))

    def set_node_feature(self, feature_list: str | Sequence[str]) -> None:
        """Set what the nodes must have."""
        self._set_option("set_node_feature", ",".join(names("feature_list", feature_list)))

    def set_verbose_launch(self, verbose: bool) -> None:
        """Let the run command tell what it does, or no more."""
        self._set_flag("set_verbose_launch", verbose)

    def set_quiet_launch(self, quiet: bool) -> None:
        """Let the run command tell less, or no less any more."""
        self._set_flag("set_quiet_launch", quiet)

    def set_broadcast(self, dest_path: str | None = None) -> None:
        """Copy the program to the nodes before it runs, to `dest_path` where the run command can be told."""
        self._set_option("set_broadcast", dest_path)

    def set_time(self, hours: int = 0, minutes: int = 0, seconds: int = 0) -> None:
        """Set how long the program may run."""
        given = (("hours", hours), ("minutes", minutes), ("seconds", seconds))
        hours, minutes, seconds = (count(name, number, at_least=0) for name, number in given)
        self.set_walltime(self._time_text(hours * 3600 + minutes * 60 + seconds))

    def set_walltime(self, walltime: str) -> None:
        """Set how long the program may run: `HH:MM:SS`, or as the run command wants it."""
        self._set_option("set_walltime", self._walltime(walltime))

    def set_mpmd_preamble(self, preamble_lines: Sequence[str]) -> None:
        """Set the first lines of the file that lists several programs (jsrun)."""
        self._warn_of("set_mpmd_preamble")

    def make_mpmd(self, settings: "RunSettings") -> None:
        """Let the same command start another program, too."""
        self._warn_of("make_mpmd")

    def format_run_args(self) -> list[str]:
        """Return the arguments of the run command as words."""
        words = ([name] if value is None else [name, str(value)] for name, value in self.run_args.items())
        return [word for pair in words for word in pair]

    def format_env_vars(self) -> list[str]:
        """Return the environment variables as words of the run command, here `name=value`."""
        return list(assignments(self.env_vars))

    def program(self, folder: str) -> list[str]:
        """Return the words of the program itself, with its container around it."""
        container = self.container.container_cmds(folder) if self.container else []
        return [*self.prelude, *container, *self.exe, *self.exe_args]

    def program_as_part(self, folder: str) -> list[str]:
        """Return the words of the program with its variables before it, for a command that takes them for all alike."""
        own = list(assignments(self.env_vars))
        return [*(["env", *own] if own else []), *self.program(folder)]

    def local_command(self, folder: str) -> list[str]:
        """Return the words that run the program as a process of this machine.

        The process gets its folder, its variables and its output files from whom starts it, and hands them on; only
        the other programs of one command have variables of their own before them.
        """
        words = [self.run_command, *self.format_run_args()] if self.run_command else []
        words += self.program(folder)
        for other in self.mpmd:
            words += [":", *other.format_run_args(), *other.program_as_part(folder)]
        return words

    def command(self, placement: Placement) -> list[str]:
        """Return the words that run the program by its scheduler."""
        return self.local_command(placement.folder)

    def side_files(self, placement: Placement) -> dict[str, str]:
        """Return the files, path -> text, that the command reads."""
        return {}

    def programs(self) -> list[str]:
        """Return the programs that must be on this machine to run it here."""
        first = [self.run_command] if self.run_command else []
        for settings in (self, *self.mpmd):
            first += [settings.container.runtime] if settings.container else settings.exe
        return first

    def placed(self, environment: Mapping[str, str | None]) -> "RunSettings":
        """Return a copy with these variables under its own."""
        changed = copy.copy(self)
        changed.env_vars = {**environment, **self.env_vars}
        return changed

    def _find_run_command(self, command: str) -> str:
        return find_program(command)

    def _option_name(self, arg: str) -> str:
        return arg

    def _set_option(self, setter: str, value: OptionValue) -> None:
        if setter in self.options:
            self.run_args[self.options[setter]] = value
        else:
            self._warn_of(setter)

    def _set_flag(self, setter: str, is_on: bool) -> None:
        if not is_on:
            self.run_args.pop(self.options.get(setter, ""), None)
        else:
            self._set_option(setter, None)

    def _warn_of(self, setter: str) -> None:
        logger.warning("%s has no option for %s: it is ignored", type(self).__name__, setter)

    def _cpu_bindings(self, cpus: str) -> str:
        return cpus

    def _memory(self, megabytes: int) -> OptionValue:
        return megabytes

    def _walltime(self, walltime: str) -> str:
        return walltime

    def _time_text(self, seconds: int) -> str:
        return str(seconds)


class LauncherSettings(RunSettings):
    """What run settings of one known run command have in common: the names of its options have no dashes."""

    # The run command; looked up on the PATH, and taken as it is where it is not there, to describe another machine.
    command_name: ClassVar[str]

    def __init__(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_args: Mapping[str, OptionValue] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        container: Container | None = None,
    ) -> None:
        super().__init__(exe, exe_args, self.command_name, run_args, env_vars, container)

    def _find_run_command(self, command: str) -> str:
        return shutil.which(command) or command

    def _option_name(self, arg: str) -> str:
        return arg.strip().lstrip("-")

    def _options(self) -> dict[str, OptionValue]:
        # `run_args` is open to all: look once more.
        cleaned = {self._option_name(name): value for name, value in self.run_args.items()}
        return {name: value for name, value in cleaned.items() if name not in self.reserved_run_args}

    def _add_part(self, settings: RunSettings, kind: type[RunSettings]) -> None:
        if not isinstance(settings, kind):
            raise ArgumentTypeError(
                f"make_mpmd takes {kind.__name__} to join {type(self).__name__}, got {type(settings).__name__}"
            )
        if settings is self or settings.mpmd:
            raise ArgumentValueError("make_mpmd takes the settings of one other program, which joins no third one")
        self.mpmd.append(settings)
