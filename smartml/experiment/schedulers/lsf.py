"""LSF: run settings of `jsrun`, batch settings and script text of `bsub`, and what `bjobs` says of jobs.

Options as in https://www.ibm.com/docs/en/spectrum-lsf/10.1.0 (bsub) and
https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=jsm-jsrun (jsrun and its ERF files).
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from smartml.errors import ArgumentTypeError, ArgumentValueError, SchedulerError, UnsupportedError
from smartml.experiment.schedulers.batch import BatchSettings, directive_value
from smartml.experiment.schedulers.batch_system import (
    Answer,
    BatchSystem,
    HostsSource,
    JobState,
    found_id,
    shell_code,
)
from smartml.experiment.schedulers.containers import Container
from smartml.experiment.schedulers.options import OptionValue, check_walltime, count, names, short_and_long
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import LauncherSettings, Placement, RunSettings
from smartml.experiment.states import Status


class JsrunSettings(LauncherSettings):
    """Run a program by `jsrun`, in resource sets: a number of CPUs, GPUs and processes each."""

    command_name = "jsrun"
    options: ClassVar[Mapping[str, str]] = {
        "set_tasks": "np",
        "set_tasks_per_node": "tasks_per_rs",
        "set_cpus_per_task": "cpu_per_rs",
        "set_binding": "bind",
        "set_memory_per_node": "memory_per_rs",
    }
    reserved_run_args = frozenset({"chdir", "h", "stdio_stdout", "o", "stdio_stderr", "k"})
    hands_on_environment = True
    writes_output = True

    def __init__(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_args: Mapping[str, OptionValue] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        container: Container | None = None,
    ) -> None:
        super().__init__(exe, exe_args, run_args, env_vars, container)
        # How the resource set of this program is asked for in an ERF file.
        self.erf_sets: dict[str, str] = {"host": "*", "cpu": "*", "gpu": "*"}
        self.mpmd_preamble_lines: list[str] = []
        self._output_suffix = ""

    def set_num_rs(self, num_rs: str | int) -> None:
        """Set the number of resource sets, or "ALL_HOSTS"."""
        self.run_args["nrs"] = num_rs if num_rs == "ALL_HOSTS" else count("num_rs", num_rs)

    def set_cpus_per_rs(self, cpus_per_rs: int) -> None:
        """Set the number of CPUs of each resource set, or "ALL_CPUS"."""
        self.run_args["cpu_per_rs"] = _all_or_count("cpus_per_rs", cpus_per_rs, "ALL_CPUS")

    def set_gpus_per_rs(self, gpus_per_rs: int) -> None:
        """Set the number of GPUs of each resource set, or "ALL_GPUS"."""
        self.run_args["gpu_per_rs"] = _all_or_count("gpus_per_rs", gpus_per_rs, "ALL_GPUS", at_least=0)

    def set_rs_per_host(self, rs_per_host: int) -> None:
        """Set the number of resource sets on each host."""
        self.run_args["rs_per_host"] = count("rs_per_host", rs_per_host)

    def set_tasks_per_rs(self, tasks_per_rs: int) -> None:
        """Set the number of processes of each resource set."""
        self.run_args["tasks_per_rs"] = count("tasks_per_rs", tasks_per_rs)

    def set_memory_per_rs(self, memory_per_rs: int) -> None:
        """Set the memory of each resource set, in MiB."""
        self.run_args["memory_per_rs"] = count("memory_per_rs", memory_per_rs)

    def set_individual_output(self, suffix: str | None = None) -> None:
        """Give each process an output file of its own: `suffix`, such as `_%t`, goes between name and `.out`."""
        self.run_args["stdio_mode"] = "individual"
        self._output_suffix = suffix or ""

    def set_erf_sets(self, erf_sets: Mapping[str, str]) -> None:
        """Set the resource set of this program in an ERF file, in its words.

        There are `host`, `cpu`, `gpu`, `memory`, and `rank` or `rank_count`.
        """
        if not isinstance(erf_sets, Mapping) or not all(
            isinstance(word, str) for pair in erf_sets.items() for word in pair
        ):
            raise ArgumentTypeError(f"erf_sets must map str to str, got {erf_sets!r}")
        self.erf_sets = dict(erf_sets)

    def set_mpmd_preamble(self, preamble_lines: Sequence[str]) -> None:
        """Set the first lines of the ERF file, in place of `launch_distribution : packed`."""
        if isinstance(preamble_lines, str) or not all(isinstance(line, str) for line in preamble_lines):
            raise ArgumentTypeError(f"preamble_lines must be a list of str, got {preamble_lines!r}")
        self.mpmd_preamble_lines = list(preamble_lines)

    def make_mpmd(self, settings: RunSettings) -> None:
        """Start the programs that are handed in here, and not this one, by one `jsrun` with an ERF file."""
        if not isinstance(settings, JsrunSettings):
            raise ArgumentTypeError(f"make_mpmd takes JsrunSettings, got {type(settings).__name__}")
        self.mpmd.append(settings)

    def format_run_args(self) -> list[str]:
        """Return the options as words, `-k value` or `--key=value`."""
        return short_and_long(self._options())

    def format_env_vars(self) -> list[str]:
        """Return `-E name=value`, or `-E name` for what is taken over from the caller."""
        words = (name if value is None else f"{name}={value}" for name, value in self.env_vars.items())
        return [word for variable in words for word in ("-E", variable)]

    def local_command(self, folder: str) -> list[str]:
        """Return the words that run the program as a process of this machine. Raises UnsupportedError for several."""
        if self.mpmd:
            raise UnsupportedError("jsrun starts several programs only under launcher 'lsf': make a model for each")
        return super().local_command(folder)

    def command(self, placement: Placement) -> list[str]:
        """Return the words that run the program, or those of the ERF file."""
        words = [self.run_command or self.command_name, "--chdir", placement.folder]
        words += ["--stdio_stdout", self._output(placement.out), "--stdio_stderr", self._output(placement.err)]
        words += self.placed(placement.environment).format_env_vars()
        if self.mpmd:
            return [*words, "--erf_input", _erf_file(placement)]
        return [*words, *self.format_run_args(), *self.program(placement.folder)]

    def side_files(self, placement: Placement) -> dict[str, str]:
        """Return the ERF file where several programs are started: which they are, and what each gets."""
        return {_erf_file(placement): self.erf_text(placement.folder)} if self.mpmd else {}

    def erf_text(self, folder: str) -> str:
        """Return the text of the ERF file."""
        distribution = self._options().get("launch_distribution", "packed")
        lines = self.mpmd_preamble_lines or [f"launch_distribution : {distribution}"]
        apps = [f"app {index} : {shlex.join(part.program_as_part(folder))}" for index, part in enumerate(self.mpmd)]
        sets = [
            _erf_set(part.erf_sets, index) for index, part in enumerate(self.mpmd) if isinstance(part, JsrunSettings)
        ]
        return "\n".join([*lines, "", *apps, "", *sets]) + "\n"

    def _output(self, file: str) -> str:
        path = Path(file)
        return str(path.with_name(f"{path.stem}{self._output_suffix}{path.suffix}"))


class BsubBatchSettings(BatchSettings):
    """Describe a job of LSF. `smts`: hardware threads of each core, 0 for what the system does by itself."""

    directive = "#BSUB"
    reserved_batch_args = frozenset({"J", "o", "e", "W", "P"})
    # Of a script that is an argument LSF reads no options, unless the site has set LSB_BSUB_PARSE_SCRIPT.
    reads_script = True
    task_variable = "$LSB_JOBINDEX"
    task_in_path = "%I"
    first_task = 1

    def __init__(
        self,
        nodes: int | None = None,
        time: str | None = None,
        project: str | None = None,
        batch_args: Mapping[str, OptionValue] | None = None,
        smts: int = 0,
        queue: str | None = None,
    ) -> None:
        self.walltime: str | None = None
        self.project: str | None = None
        self.smts = 0
        self.expert_mode = False
        super().__init__("bsub", batch_args, nodes=nodes, queue=queue, time=time, account=project)
        self.set_smts(smts)

    def set_nodes(self, num_nodes: int) -> None:
        """Set the number of nodes."""
        self.batch_args["nnodes"] = count("nodes", num_nodes)

    def set_tasks(self, tasks: int) -> None:
        """Set the number of job slots."""
        self.batch_args["n"] = count("tasks", tasks)

    def set_queue(self, queue: str) -> None:
        """Set the queue to wait in."""
        self.batch_args["q"] = str(queue)

    def set_walltime(self, walltime: str) -> None:
        """Set how long the job may run, as `HH:MM` or `HH:MM:SS`, whose seconds LSF does not know."""
        checked = check_walltime(walltime, r"\d+:\d{1,2}(:\d{1,2})?", "HH:MM, HH:MM:SS")
        self.walltime = ":".join(checked.split(":")[:2])

    def set_smts(self, smts: int) -> None:
        """Set the number of hardware threads of each core."""
        self.smts = count("smts", smts, at_least=0)

    def set_project(self, project: str) -> None:
        """Set the project that pays."""
        self.project = str(project)

    def set_account(self, account: str) -> None:
        """Set the project that pays, which other systems call an account."""
        self.set_project(account)

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts to run on."""
        self.batch_args["m"] = " ".join(names("host_list", host_list))

    def set_expert_mode_req(self, res_req: str, slots: int) -> None:
        """Ask for resources in LSF's own words, in place of a number of nodes."""
        self.expert_mode = True
        self.batch_args |= {"csm": "y", "R": str(res_req), "n": count("slots", slots)}

    def format_batch_args(self) -> list[str]:
        """Return the options as they stand in the script."""
        options = {**({"alloc_flags": None} if self.smts else {}), **self._options()}
        if "alloc_flags" in options:
            given = str(options["alloc_flags"] or "").strip("\"' ").split()
            flags = [*given, *([f"smt{self.smts}"] if self.smts and f"smt{self.smts}" not in given else [])]
            options["alloc_flags"] = " ".join(flags)
        if self.expert_mode:
            options.pop("nnodes", None)
        bare = {name for name, value in options.items() if value is None or value == ""}
        return [
            f"-{name}" if name in bare else f"-{name} {directive_value(name, value)}" for name, value in options.items()
        ]

    def header(self, placement: Placement, tasks: int = 0) -> list[str]:
        """Return the options of the job: its time, project and name, where it writes, and what it asks for."""
        at_once = f"%{self.tasks_at_once}" if self.tasks_at_once else ""
        name = f"{placement.job_name}[1-{tasks}]{at_once}" if tasks else placement.job_name
        return [
            *([f"-W {self.walltime}"] if self.walltime else []),
            *([f"-P {directive_value('P', self.project)}"] if self.project else []),
            f"-J {directive_value('J', name)}",
            f"-o {directive_value('o', placement.out)}",
            f"-e {directive_value('e', placement.err)}",
            *self.format_batch_args(),
        ]


# States as in bjobs(1), "STAT"; all others are failures. `UNKWN`: its host does not answer, which may pass.
_STATES = {
    **dict.fromkeys(("PEND", "PROV", "WAIT"), Status.STATUS_QUEUED),
    **dict.fromkeys(("RUN", "UNKWN", "ZOMBI"), Status.STATUS_RUNNING),
    **dict.fromkeys(("PSUSP", "USUSP", "SSUSP"), Status.STATUS_PAUSED),
    "DONE": Status.STATUS_COMPLETED,
}

# How the reason begins where someone ended the job: the owner or an administrator, with bkill.
_KILLED = ("TERM_OWNER", "TERM_FORCE_OWNER", "TERM_ADMIN", "TERM_FORCE_ADMIN", "TERM_PRE_EXEC_OWNER")

_FIELDS = ("jobid", "jobindex", "stat", "exit_code", "exit_reason", "exec_host")


class Lsf(BatchSystem):
    """The commands of LSF from 9.1 on."""

    title = "LSF"
    first_index = 1
    unreached = r"LSF is down|cannot connect|Connection refused|is not responding|try later"
    queue_variable = "LSB_QUEUE"

    def parse_submission(self, answer: Answer) -> str:
        """Return the id in `Job <17> is submitted to queue <normal>.` Raises SchedulerError."""
        return found_id(self.title, answer, r"Job <(\d+)> is submitted")

    def task_id(self, job_id: str, index: int) -> str:
        """Return the id of one task: `17[3]`."""
        return f"{job_id}[{index}]"

    def query_command(self, job_ids: Sequence[str], arrays: bool) -> list[str]:
        """Return the words that ask for all these jobs at once, ended ones too, each task of an array on its own."""
        return ["bjobs", "-a", "-noheader", "-o", f"{' '.join(_FIELDS)} delimiter='|'", *job_ids]

    def parse_query(self, answer: Answer) -> dict[str, JobState]:
        """Return the jobs that `bjobs` lists, which are those that ended within the hour (CLEAN_PERIOD), too."""
        # It fails when it does not know one of the jobs, and lists the others.
        if answer.code and not re.search(r"is not found|No .*job found", answer.err):
            raise SchedulerError(f"bjobs does not answer: {answer.text}")
        found = {}
        for line in answer.out.splitlines():
            job, index, state, code, reason, hosts = line.split("|")[: len(_FIELDS)]
            # The id of a task has its index in it, or not, as the site's release has it.
            job = job.partition("[")[0]
            key = self.task_id(job, int(index)) if index.isdigit() and int(index) else job
            found[key] = _state(state, code, reason, hosts)
        return found

    def cancel_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the command that ends jobs: SIGINT, SIGTERM, and SIGKILL after the site's JOB_TERMINATE_INTERVAL."""
        return [["bkill", *ids]]

    def kill_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the command that kills jobs."""
        return [["bkill", "-s", "KILL", *ids]]

    def allocation_hosts(self, environment: Mapping[str, str]) -> HostsSource | None:
        """Return the file of hosts, one for each slot, or the variable that lists them so."""
        if file := environment.get("LSB_DJOB_HOSTFILE"):
            return HostsSource(file=file)
        hosts = environment.get("LSB_HOSTS")
        return HostsSource(text="\n".join(hosts.split())) if hosts else None


def _state(state: str, code: str, reason: str, hosts: str) -> JobState:
    # `2*n1:n2`: how many slots on which host.
    names = dict.fromkeys(part.rpartition("*")[2] for part in hosts.split(":") if part != "-")
    where, said = ",".join(names), "" if reason == "-" else reason
    if (known := _STATES.get(state)) is not None:
        is_ended = known is Status.STATUS_COMPLETED
        words = state if state in ("UNKWN", "ZOMBI") else ""
        return JobState(known, 0 if is_ended else None, words, where, is_ending=state == "ZOMBI")
    status = Status.STATUS_CANCELLED if said.startswith(_KILLED) else Status.STATUS_FAILED
    return JobState(status, shell_code(int(code)) if code.isdigit() else None, said, where)


LSF = Lsf()


def _erf_file(placement: Placement) -> str:
    return str(Path(placement.folder) / f"{placement.name}.mpmd")


def _erf_set(erf_sets: Mapping[str, str], index: int) -> str:
    """Return the line of one program: `rank: 0,1: { host: 2; cpu: {0:4}; gpu: *}: app 0`."""
    if "rank" in erf_sets:
        ranks = f"rank: {erf_sets['rank']}: "
    elif "rank_count" in erf_sets:
        ranks = f"{erf_sets['rank_count']}: "
    else:
        ranks = "1 : "
    resources = "; ".join(f"{name}: {value}" for name, value in erf_sets.items() if name not in ("rank", "rank_count"))
    return f"{ranks}{{ {resources}}}: app {index}"


def _all_or_count(setting: str, value: str | int, everything: str, at_least: int = 1) -> OptionValue:
    if isinstance(value, str) and not value.isdigit() and value != everything:
        raise ArgumentValueError(f"{setting} must be a whole number or {everything!r}, got {value!r}")
    return everything if value == everything else count(setting, value, at_least)
