"""Slurm: run settings of `srun`, batch settings and script text of `sbatch`, what `squeue` and others say of jobs.

Options as in https://slurm.schedmd.com/srun.html, https://slurm.schedmd.com/sbatch.html and the pages beside them.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from smartml.errors import AllocationError, ArgumentValueError, SchedulerError, UnsupportedError
from smartml.experiment.schedulers.batch import BatchSettings, directive_value
from smartml.experiment.schedulers.batch_system import (
    Answer,
    BatchSystem,
    HostsSource,
    JobState,
    first_words,
    found_id,
    shell_code,
    wait_code,
)
from smartml.experiment.schedulers.containers import Container
from smartml.experiment.schedulers.options import (
    OptionValue,
    check_walltime,
    clock_text,
    count,
    joined_counts,
    names,
    short_and_long,
)
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import LauncherSettings, Placement, RunSettings
from smartml.experiment.states import Status

# Days, hours, minutes and seconds in the forms that Slurm takes.
_WALLTIME = r"\d+-\d+(:\d{1,2}){0,2}|\d+(:\d{1,2}){0,2}|UNLIMITED|infinite"
_WALLTIME_FORMS = "HH:MM:SS, MM:SS, MM, D-HH, D-HH:MM, D-HH:MM:SS"


class SrunSettings(LauncherSettings):
    """Run a program by `srun`, in the allocation `alloc`, or in that of the script."""

    command_name = "srun"
    options: ClassVar[Mapping[str, str]] = {
        "set_nodes": "nodes",
        "set_tasks": "ntasks",
        "set_tasks_per_node": "ntasks-per-node",
        "set_cpus_per_task": "cpus-per-task",
        "set_cpu_bindings": "cpu_bind",
        "set_hostlist": "nodelist",
        "set_hostlist_from_file": "nodefile",
        "set_excluded_hosts": "exclude",
        "set_memory_per_node": "mem",
        "set_walltime": "time",
        "set_verbose_launch": "verbose",
        "set_quiet_launch": "quiet",
        "set_broadcast": "bcast",
        "set_node_feature": "C",
        "set_het_group": "het-group",
    }
    reserved_run_args = frozenset({"chdir", "D"})
    hands_on_environment = True
    writes_output = True

    def __init__(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_args: Mapping[str, OptionValue] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        alloc: str | int | None = None,
        container: Container | None = None,
    ) -> None:
        super().__init__(exe, exe_args, run_args, env_vars, container)
        self.alloc = None if alloc is None else str(alloc)

    def set_het_group(self, het_group: Iterable[int]) -> None:
        """Choose the components of a heterogeneous job to run in. Raises ArgumentValueError outside of one."""
        size = int(os.environ.get("SLURM_HET_SIZE", "0"))
        groups = list(het_group)
        if not size:
            raise ArgumentValueError(f"het_group={groups}: this is no heterogeneous job (SLURM_HET_SIZE is not set)")
        text = joined_counts("het_group", groups)
        if self.mpmd or not groups or max(groups) >= size:
            raise ArgumentValueError(f"het_group must be of 0 to {size - 1}, and not with make_mpmd, got {groups}")
        self._set_option("set_het_group", text)

    def make_mpmd(self, settings: RunSettings) -> None:
        """Let the same command start another program, too. Raises UnsupportedError for containers."""
        if "SLURM_HET_SIZE" in os.environ:
            raise ArgumentValueError("a heterogeneous job cannot start several programs by one srun: use set_het_group")
        if self.container or settings.container:
            raise UnsupportedError("srun cannot start several programs of containers: make a model for each")
        self._add_part(settings, SrunSettings)

    def format_run_args(self) -> list[str]:
        """Return the options as words, `-k value` or `--key=value`."""
        return short_and_long(self._options())

    def format_comma_sep_env_vars(self) -> tuple[str, list[str]]:
        """Return what `--export` lists, and the assignments that must stand before `srun`.

        A comma ends a value there: such a variable is set before, and exported by its name, as one that is taken over
        from the caller is.
        """
        before = {name for name, value in self.env_vars.items() if value is not None and "," in value}
        words = (
            name if value is None else f"{name}={value}" for name, value in self.env_vars.items() if name not in before
        )
        # Names last, in their order.
        listed = ",".join([*words, *(name for name in self.env_vars if name in before)])
        return listed, [f"{name}={value}" for name, value in self.env_vars.items() if name in before]

    def command(self, placement: Placement) -> list[str]:
        """Return the words that run the programs as one step."""
        words = ["--output", _literal(placement.out), "--error", _literal(placement.err)]
        words += ["--job-name", placement.job_name]
        allocation = self.alloc or placement.allocation
        words += ["--jobid", allocation] if allocation else []
        export, before = self._export(placement)
        words += [*export, *self.format_run_args(), *self.program(placement.folder)]
        for part in self.mpmd:
            assert isinstance(part, SrunSettings)
            export, more = part._export(placement)
            before += [word for word in more if word not in before]
            words += [":", *part.format_run_args(), "--job-name", placement.job_name, *export]
            words += part.program(placement.folder)
        return [*(["env", *before] if before else []), self.run_command or self.command_name, *words]

    def _export(self, placement: Placement) -> tuple[list[str], list[str]]:
        placed = self.placed(placement.environment)
        assert isinstance(placed, SrunSettings)
        listed, before = placed.format_comma_sep_env_vars()
        return (["--export", f"ALL,{listed}"] if listed else []), before

    def _cpu_bindings(self, cpus: str) -> str:
        return f"map_cpu:{cpus}"

    def _memory(self, megabytes: int) -> str:
        return f"{megabytes}M"

    def _walltime(self, walltime: str) -> str:
        return check_walltime(walltime, _WALLTIME, _WALLTIME_FORMS)

    def _time_text(self, seconds: int) -> str:
        # SmartSim writes "01 day, 6:00:00" from 24 hours on.
        return clock_text(seconds)


class SbatchSettings(BatchSettings):
    """Describe a job of `sbatch`."""

    directive = "#SBATCH"
    # An array is asked for by `set_array`; of other clusters nobody here could say what became of a job.
    reserved_batch_args = frozenset(
        {"output", "o", "error", "e", "job-name", "J", "chdir", "D", "array", "a", "clusters", "cluster", "M"}
    )
    task_variable = "$SLURM_ARRAY_TASK_ID"
    task_in_path = "%a"

    def __init__(
        self,
        nodes: int | None = None,
        time: str = "",
        account: str | None = None,
        batch_args: Mapping[str, OptionValue] | None = None,
        queue: str | None = None,
    ) -> None:
        super().__init__("sbatch", batch_args, nodes=nodes, queue=queue, time=time, account=account)

    def set_nodes(self, num_nodes: int) -> None:
        """Set the number of nodes."""
        self.batch_args["nodes"] = count("nodes", num_nodes)

    def set_walltime(self, walltime: str) -> None:
        """Set how long the job may run, as `HH:MM:SS` or in another form of Slurm's."""
        self.batch_args["time"] = check_walltime(walltime, _WALLTIME, _WALLTIME_FORMS)

    def set_account(self, account: str) -> None:
        """Set the account that pays."""
        self.batch_args["account"] = account

    def set_partition(self, partition: str) -> None:
        """Set the partition to run in."""
        self.batch_args["partition"] = str(partition)

    def set_queue(self, queue: str) -> None:
        """Set the partition, which other systems call a queue."""
        self.set_partition(queue)

    def set_cpus_per_task(self, cpus_per_task: int) -> None:
        """Set the number of CPUs of each process."""
        self.batch_args["cpus-per-task"] = count("cpus_per_task", cpus_per_task)

    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts to run on."""
        self.batch_args["nodelist"] = ",".join(names("host_list", host_list))

    def format_batch_args(self) -> list[str]:
        """Return the options as they stand in the script."""
        quoted = {
            name: None if value is None else directive_value(name, value)
            for name, value in self._options().items()
        }  # fmt: skip
        return [" ".join(short_and_long({name: value})) for name, value in quoted.items()]

    def header(self, placement: Placement, tasks: int = 0) -> list[str]:
        """Return the options of the job: where it writes, its name, its tasks, and what it asks for."""
        at_once = f"%{self.tasks_at_once}" if self.tasks_at_once else ""
        out, err = (self._pattern(file, tasks > 0) for file in (placement.out, placement.err))
        return [
            f"--output={directive_value('output', out)}",
            f"--error={directive_value('error', err)}",
            f"--job-name={directive_value('job-name', placement.job_name)}",
            *([f"--array=0-{tasks - 1}{at_once}"] if tasks else []),
            *self.format_batch_args(),
        ]

    def submit_command(self, script: str) -> list[str]:
        """Return the words that hand the script in; they print nothing but the job's id."""
        return [self.batch_cmd, "--parsable", script]

    def _pattern(self, file: str, is_array: bool) -> str:
        before, mark, after = file.rpartition(self.task_in_path) if is_array else (file, "", "")
        return f"{_literal(before)}{mark}{_literal(after)}"


# States as in https://slurm.schedmd.com/squeue.html, "JOB STATE CODES"; all others are failures.
_STATES = {
    "PENDING": Status.STATUS_QUEUED,
    "REQUEUED": Status.STATUS_QUEUED,
    "REQUEUE_FED": Status.STATUS_QUEUED,
    "REQUEUE_HOLD": Status.STATUS_QUEUED,
    "SPECIAL_EXIT": Status.STATUS_QUEUED,
    "RESV_DEL_HOLD": Status.STATUS_QUEUED,
    "CONFIGURING": Status.STATUS_QUEUED,
    "RUNNING": Status.STATUS_RUNNING,
    "COMPLETING": Status.STATUS_RUNNING,
    "RESIZING": Status.STATUS_RUNNING,
    "SIGNALING": Status.STATUS_RUNNING,
    "STAGE_OUT": Status.STATUS_RUNNING,
    "SUSPENDED": Status.STATUS_PAUSED,
    "STOPPED": Status.STATUS_PAUSED,
    "COMPLETED": Status.STATUS_COMPLETED,
    "CANCELLED": Status.STATUS_CANCELLED,
    "REVOKED": Status.STATUS_CANCELLED,
}

# What Slurm writes where it has nothing to say.
_NOTHING = ("", "None", "N/A", "(null)", "None assigned")

# By these it says that it can be reached and does not know the only job that it was asked for.
_UNKNOWN = "Invalid job id specified"

_FIELDS = ("ArrayJobID", "ArrayTaskID", "State", "Reason", "exit_code", "NodeList", "RestartCnt")


class Slurm(BatchSystem):
    """The commands of Slurm; accounting (`sacct`) is asked for what has left the queue, and may be missing."""

    title = "Slurm"
    first_index = 0
    unreached = r"connect failure|Connection refused|Unable to contact slurm controller|temporarily unable to accept"
    queue_variable = "SLURM_JOB_PARTITION"

    def parse_submission(self, answer: Answer) -> str:
        """Return the id that `sbatch --parsable` printed. Raises SchedulerError."""
        found = found_id(self.title, answer, r"^(\d+(?:;\S+)?)$")
        if ";" in found:
            raise SchedulerError(
                f"Slurm took the job as {found}, for another cluster than this one, which cannot be watched from here: "
                "leave SBATCH_CLUSTERS out, and cancel it by hand"
            )
        return found

    def task_id(self, job_id: str, index: int) -> str:
        """Return the id of one task: `17_3`."""
        return f"{job_id}_{index}"

    def query_command(self, job_ids: Sequence[str], arrays: bool) -> list[str]:
        """Return the words that ask for all these jobs at once, ended ones too, each task of an array on its own."""
        fields = ",".join(f"{field}:|" for field in _FIELDS)
        return ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(job_ids)}", f"--Format={fields}"]

    def parse_query(self, answer: Answer) -> dict[str, JobState]:
        """Return the jobs that `squeue` lists, which are those that ended within minutes (MinJobAge), too."""
        if answer.code and _UNKNOWN not in answer.err:
            raise SchedulerError(f"squeue does not answer: {answer.text}")
        found = {}
        for line in answer.out.splitlines():
            job, task, state, reason, code, nodes, restarts = line.split("|")[: len(_FIELDS)]
            found[job if task in _NOTHING else self.task_id(job, int(task))] = _state(
                state, wait_code(int(code)), reason, nodes, int(restarts)
            )
        return found

    def past_command(self, job_id: str) -> list[str]:
        """Return the words that ask the accounting for a job, not for its steps."""
        fields = "--format=JobID,State,ExitCode,NodeList"
        return ["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job_id}", fields]

    def parse_past(self, answer: Answer) -> dict[str, JobState]:
        """Return the jobs of the accounting; none where there is no accounting."""
        found = {}
        for line in answer.out.splitlines() if answer.code == 0 else ():
            job, state, code, nodes = line.split("|")[:4]
            exit_code, _, signal = code.partition(":")
            # The state of a cancelled one goes on with by whom: "CANCELLED by 1000".
            words = state.split()
            found[job] = _state(words[0], -int(signal or 0) or shell_code(int(exit_code or 0)), "", nodes, 0)
        return found

    def cancel_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the command that ends jobs: SIGTERM, and SIGKILL after the site's KillWait."""
        return [["scancel", *ids]]

    def kill_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the command that kills the script and all steps of jobs."""
        return [["scancel", "--signal=KILL", "--full", *ids]]

    def allocation_hosts(self, environment: Mapping[str, str]) -> HostsSource | None:
        """Return the command that writes out `SLURM_JOB_NODELIST`."""
        nodes = environment.get("SLURM_JOB_NODELIST") or environment.get("SLURM_NODELIST")
        return HostsSource(command=("scontrol", "show", "hostnames", nodes)) if nodes else None

    def allocation_tasks(self, environment: Mapping[str, str], text: str) -> dict[str, int]:
        """Return `SLURM_TASKS_PER_NODE`, such as `2(x3),1`, by hosts. Raises AllocationError."""
        given = environment.get("SLURM_TASKS_PER_NODE", "")
        found = re.findall(r"(\d+)(?:\(x(\d+)\))?", given)
        counts = [int(count) for count, times in found for _ in range(int(times or 1))]
        hosts = first_words(text.splitlines())
        if len(counts) != len(hosts):
            raise AllocationError(f"SLURM_TASKS_PER_NODE={given!r} is not for these {len(hosts)} nodes: {hosts}")
        return dict(zip(hosts, counts, strict=True))


def _literal(file: str) -> str:
    """Return a path as a file name pattern of Slurm's."""
    return file.replace("%", "%%")


def _state(state: str, code: int, reason: str, nodes: str, restarts: int) -> JobState:
    status = _STATES.get(state, Status.STATUS_FAILED)
    hosts = "" if nodes in _NOTHING else nodes
    if status in (Status.STATUS_QUEUED, Status.STATUS_RUNNING, Status.STATUS_PAUSED):
        said = "" if reason in _NOTHING else reason
        return JobState(status, None, said, hosts, state in ("COMPLETING", "SIGNALING", "STAGE_OUT"), restarts)
    # A failure by its exit code needs no other words.
    said = reason if state == "FAILED" else state
    if state == "COMPLETED" or said in (*_NOTHING, "NonZeroExitCode"):
        said = ""
    # Of one that did not end by itself the code says nothing: 0 after a time limit, 125 without memory.
    by_itself = (*_NOTHING, "NonZeroExitCode")
    is_own = state == "COMPLETED" or (state == "FAILED" and (reason in by_itself or reason.startswith("RaisedSignal")))
    return JobState(status, code if is_own else None, said, hosts, restarts=restarts)


SLURM = Slurm()
