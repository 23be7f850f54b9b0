"""PBS (Professional, OpenPBS, Torque): batch settings and script text of `qsub`, and what `qstat` says of jobs.

Options as in qsub(1B) of the PBS Professional Reference Guide, https://help.altair.com/2024.1.0/PBS%20Professional/.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from smartml.errors import ArgumentTypeError, ArgumentValueError, SchedulerError
from smartml.experiment.schedulers.batch import (
    BatchSettings,
    Resource,
    Resources,
    qsub_options,
    qsub_placement,
    resource_options,
)
from smartml.experiment.schedulers.batch_system import (
    Answer,
    BatchSystem,
    HostsSource,
    JobState,
    found_id,
    shell_code,
)
from smartml.experiment.schedulers.options import OptionValue, check_walltime, count, names
from smartml.experiment.schedulers.settings import Placement
from smartml.experiment.states import Status


class QsubBatchSettings(Resources, BatchSettings):
    """Describe a job of PBS.

    Nodes are asked for by `nodes`, or by `resources={"select": n}`, not by both; `ncpus` and the hosts belong to each.
    """

    directive = "#PBS"
    # An array is asked for by `set_array`.
    reserved_batch_args = frozenset({"o", "e", "N", "J", "t"})
    task_variable = "${PBS_ARRAY_INDEX:-$PBS_ARRAYID}"
    task_in_path = "^array_index^"

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
        Resources.__init__(self, resources)
        self._hosts: list[str] = []
        # The option that asks for a job array: that of PBS Professional and OpenPBS, or "t", that of Torque.
        self.array_option = "J"
        if nodes and "nodes" in self._resources:
            raise ArgumentValueError(f"nodes={nodes} and resources['nodes']={self._resources['nodes']}: give one")
        self._ncpus = None if ncpus is None else count("ncpus", ncpus)
        BatchSettings.__init__(self, "qsub", batch_args, nodes=nodes, queue=queue, time=time, account=account)

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
        others = {name: value for name, value in self.resources.items() if name not in ("nodes", "select")}
        return [f"-l {self._selection()}", *resource_options(others), *qsub_options(self._options())]

    def header(self, placement: Placement, tasks: int = 0) -> list[str]:
        """Return the options of the job: where it writes, its name, that it gets our variables, what it asks for."""
        at_once = f"%{self.tasks_at_once}" if self.tasks_at_once else ""
        array = [f"-{self.array_option} 0-{tasks - 1}{at_once}"] if tasks else []
        return [*qsub_placement(placement), *array, *self.format_batch_args()]

    def _selection(self) -> str:
        chosen = [name for name in ("nodes", "select") if name in self.resources]
        if len(chosen) > 1 or not (chosen or self._hosts):
            what = "both" if chosen else "neither"
            raise ArgumentValueError(f"PBS needs either nodes or the resource 'select', got {what}: use set_nodes(n)")
        kind = chosen[0] if chosen else "nodes"
        value = self.resources.get(kind, len(self._hosts))
        if not isinstance(value, int):
            raise ArgumentTypeError(f"resource {kind!r} must be an int, got {value!r}: use ncpus and hosts beside it")
        cpus = f":ncpus={self._ncpus}" if self._ncpus else ""
        if not self._hosts:
            return f"{kind}={value}{cpus}"
        if value != len(self._hosts):
            raise ArgumentValueError(f"{value} nodes and {len(self._hosts)} hosts ({', '.join(self._hosts)}): give one")
        # SmartSim writes `nodes=2:host=a+host=b`, which asks for three nodes.
        chunks = (f"{host}{cpus}" if kind == "nodes" else f"1{cpus}:host={host}" for host in self._hosts)
        return f"{kind}={'+'.join(chunks)}"


_JOB = re.compile(r"^Job Id:\s*(\S+)\s*$", re.MULTILINE)

# States as in qstat(1B), "Job States", of PBS Professional and of Torque; all others are ended.
_STATES = {
    **dict.fromkeys("QHWTM", Status.STATUS_QUEUED),
    **dict.fromkeys("RBE", Status.STATUS_RUNNING),
    **dict.fromkeys("SU", Status.STATUS_PAUSED),
}

# Substates of ended jobs: PBS Professional Reference Guide, 8.2 "Job Substates".
_TERMINATED = "91"

# What PBS itself means by an exit status below zero: JOB_EXEC_KILL_... of OpenPBS's job.h, JOB_EXEC_OVERLIMIT_... of
# Torque's pbs_job.h. All others mean that the job could not be started.
_LIMITS = {
    -29: "over its walltime",
    -28: "over its CPU time",
    -27: "over its memory",
    -26: "over its virtual memory",
    -25: "over its CPUs",
    -24: "over its CPUs",
    -12: "over its CPU time",
    -11: "over its walltime",
    -10: "over its memory",
}


@dataclass(frozen=True)
class Pbs(BatchSystem):
    """The commands of PBS Professional, OpenPBS and Torque.

    They are read in the form that all three write, `qstat -f`: the JSON of some releases is none where a variable of
    the user's has a quotation mark in it. `has_history`: `qstat -x` shows ended jobs, which Torque has no word for.
    """

    has_history: bool = True

    title = "PBS"
    first_index = 0
    unreached = r"cannot connect to server|Connection refused|could not connect"
    queue_variable = "PBS_QUEUE"

    def parse_submission(self, answer: Answer) -> str:
        """Return the id that `qsub` printed: `17.server`, or `17[].server` of an array. Raises SchedulerError."""
        return found_id(self.title, answer, r"^(\d+(?:\[\])?(?:\.\S+)?)\s*$")

    def task_id(self, job_id: str, index: int) -> str:
        """Return the id of one task: `17[3].server`."""
        return job_id.replace("[]", f"[{index}]", 1)

    def query_command(self, job_ids: Sequence[str], arrays: bool) -> list[str]:
        """Return the words that ask for all these jobs at once, each task of an array on its own."""
        return ["qstat", "-f", *(["-x"] if self.has_history else []), *(["-t"] if arrays else []), *job_ids]

    def parse_query(self, answer: Answer) -> dict[str, JobState]:
        """Return the jobs that `qstat -f` shows."""
        # It fails when it does not know one of the jobs, and shows the others. To Torque, -x is the word for XML.
        is_failed = answer.code and not re.search("unknown job", answer.err, re.IGNORECASE)
        if is_failed or answer.out.startswith("<"):
            raise SchedulerError(f"qstat does not answer: {answer.text}")
        parts = _JOB.split(answer.out)
        return {job: _state(_attributes(text)) for job, text in zip(parts[1::2], parts[2::2], strict=True)}

    def adapted(self, answer: Answer) -> "Pbs":
        """Return PBS without its history, where the answer says that it keeps none, or has no such option."""
        lacks = re.search(r"job history|(unknown|invalid|illegal) option|usage:|^<", answer.text, re.IGNORECASE)
        return replace(self, has_history=False) if lacks else self

    def cancel_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the command that ends jobs: SIGTERM, and SIGKILL after the site's kill_delay."""
        return [["qdel", *ids]]

    def kill_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the command that kills jobs."""
        return [["qsig", "-s", "SIGKILL", *ids]]

    def allocation_hosts(self, environment: Mapping[str, str]) -> HostsSource | None:
        """Return the file of hosts, one for each process."""
        file = environment.get("PBS_NODEFILE")
        return HostsSource(file=file) if file else None


def _attributes(text: str) -> dict[str, str]:
    """Return what `qstat -f` says of one job: lines such as `    job_state = R`, of which long ones go on."""
    lines = text.strip("\n").splitlines()
    # PBS goes on behind a tab, and Torque's commands over Slurm begin every line with one.
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())] if lines else ""
    whole: list[str] = []
    for line in lines:
        if line.startswith(indent) and line[len(indent) :][:1].strip() and " = " in line:
            whole.append(line)
        elif whole:
            whole[-1] += line.lstrip("\t")
    pairs = (line.strip().partition(" = ") for line in whole)
    return {name: value for name, _, value in pairs}


def _state(attributes: Mapping[str, str]) -> JobState:
    letter = attributes.get("job_state", "?")
    comment = " ".join(attributes.get("comment", "").split())
    # `n1/0*2+n2/0*2`: the host, which of its slots, how many.
    hosts = ",".join(dict.fromkeys(part.split("/")[0] for part in attributes.get("exec_host", "").split("+") if part))
    runs = int(attributes.get("run_count", "0") or 0)
    if letter in _STATES:
        restarts = max(0, runs - (letter in "RBE"))
        return JobState(_STATES[letter], None, comment, hosts, letter == "E", restarts)
    said = attributes.get("Exit_status", attributes.get("exit_status"))
    if attributes.get("substate") == _TERMINATED:
        return JobState(Status.STATUS_CANCELLED, None, comment, hosts)
    if said is None:
        # It has ended, and this is all that Torque's commands over Slurm say, too.
        return JobState(Status.STATUS_COMPLETED, None, comment, hosts)
    code = int(said)
    if code < 0:
        return JobState(Status.STATUS_FAILED, None, _LIMITS.get(code, f"not started (Exit_status {code})"), hosts)
    # A signal is told by 256 and its number, as qstat's manual has it, or by 128 and its number, as of a shell.
    code = 256 - code if code > 256 else shell_code(code)
    return JobState(Status.STATUS_FAILED if code else Status.STATUS_COMPLETED, code, "", hosts)
