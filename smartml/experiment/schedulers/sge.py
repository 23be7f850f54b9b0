"""Grid Engine (SGE): batch settings and script text of its `qsub`, and what `qstat` and `qacct` say of jobs.

Options as in qsub(1) of Grid Engine, https://gridscheduler.sourceforge.net/htmlman/htmlman1/qsub.html.
"""

import getpass
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from smartml.errors import ArgumentValueError, SchedulerError, UnsupportedError
from smartml.experiment.schedulers.batch import (
    BatchSettings,
    Resources,
    directive_value,
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
from smartml.experiment.schedulers.options import OptionValue, check_walltime, count
from smartml.experiment.schedulers.settings import Placement
from smartml.experiment.states import Status

# What can be done to a context variable: add, set, delete.
_ACTIONS = ("ac", "sc", "dc")


class SgeQsubBatchSettings(Resources, BatchSettings):
    """Describe a job of Grid Engine, which gives CPUs of a parallel environment (`pe_type`), not nodes."""

    directive = "#$"
    # An array is asked for by `set_array`.
    reserved_batch_args = frozenset({"o", "e", "N", "t", "tc"})
    task_variable = "$SGE_TASK_ID"
    task_in_path = "$TASK_ID"
    first_task = 1

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
        Resources.__init__(self, resources)
        self._context: list[str] = []
        self._ncpus = None if ncpus is None else count("ncpus", ncpus)
        self._pe_type = pe_type
        self.set_shebang(shebang)
        BatchSettings.__init__(self, "qsub", batch_args, time=time, account=account)

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
        return [*options, *resource_options(self.resources), *qsub_options(self._options())]

    def header(self, placement: Placement, tasks: int = 0) -> list[str]:
        """Return the options of the job: where it writes, its name, that it gets our variables, what it asks for."""
        array = [f"-t 1-{tasks}", *([f"-tc {self.tasks_at_once}"] if self.tasks_at_once else [])] if tasks else []
        # A queue gives the script to a shell of its own choice otherwise, whatever its first line says.
        shell = [] if "S" in self._options() else ["-S /bin/bash"]
        return [*qsub_placement(placement), *shell, *array, *self.format_batch_args()]


class GridEngine(BatchSystem):
    """The commands of Grid Engine; `qacct` is asked for what has left the queue, and may know nothing.

    States as in qstat(1): letters that stand beside each other.
    """

    title = "Grid Engine"
    first_index = 1
    unreached = r"unable to contact qmaster|can't connect to|Connection refused|commlib error"
    queue_variable = "QUEUE"

    def parse_submission(self, answer: Answer) -> str:
        """Return the id in `Your job 17 ("name") has been submitted`. Raises SchedulerError."""
        return found_id(self.title, answer, r"Your job(?:-array)? (\d+)(?:\.\S+)? \(.*has been submitted")

    def task_id(self, job_id: str, index: int) -> str:
        """Return the id of one task: `17.3`."""
        return f"{job_id}.{index}"

    def query_command(self, job_ids: Sequence[str], arrays: bool) -> list[str]:
        """Return the words that ask for all jobs of this user, each task of an array on its own."""
        return ["qstat", "-xml", "-g", "d", "-u", getpass.getuser()]

    def parse_query(self, answer: Answer) -> dict[str, JobState]:
        """Return the jobs that wait or run; ended ones are not listed."""
        try:
            root = ElementTree.fromstring(answer.out)
        except ElementTree.ParseError as error:
            raise SchedulerError(f"qstat does not answer: {answer.text}") from error
        found = {}
        for job in root.iter("job_list"):
            name = job.findtext("JB_job_number", "")
            task = job.findtext("tasks", "")
            host = job.findtext("queue_name") or ""
            state = _state(job.findtext("state", ""), host.partition("@")[2])
            found[self.task_id(name, int(task)) if task.isdigit() else name] = state
        return found

    def past_command(self, job_id: str) -> list[str]:
        """Return the words that ask the accounting for a job."""
        return ["qacct", "-j", job_id]

    def parse_past(self, answer: Answer) -> dict[str, JobState]:
        """Return the job of the accounting, and its tasks; of one that was begun anew the last end counts."""
        found = {}
        for block in re.split(r"^=+$", answer.out, flags=re.MULTILINE) if answer.code == 0 else ():
            fields = dict(re.findall(r"^(\w+)[ \t]+(.*?)\s*$", block, re.MULTILINE))
            if "exit_status" not in fields:
                continue
            job, task = fields["jobnumber"], fields.get("taskid", "undefined")
            code = shell_code(int(fields["exit_status"].split()[0]))
            # `37  : qmaster enforced h_rt limit`, or `0`.
            number, _, words = fields.get("failed", "0").partition(":")
            failed = words.strip() if number.strip() != "0" else ""
            status = Status.STATUS_FAILED if code or failed else Status.STATUS_COMPLETED
            key = self.task_id(job, int(task)) if task.isdigit() else job
            found[key] = JobState(status, code or (None if failed else 0), failed, fields.get("hostname", ""))
        return found

    def cancel_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the commands that end jobs; how is the queue's own affair (terminate_method)."""
        jobs = [name for name in ids if "." not in name]
        tasks = (name.split(".") for name in ids if "." in name)
        return [*([["qdel", *jobs]] if jobs else []), *(["qdel", job, "-t", task] for job, task in tasks)]

    def kill_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the commands that end jobs even where their host does not answer."""
        return [["qdel", "-f", *words[1:]] for words in self.cancel_commands(ids)]

    def allocation_hosts(self, environment: Mapping[str, str]) -> HostsSource | None:
        """Return the file of hosts: in each line one, its slots, and more."""
        file = environment.get("PE_HOSTFILE")
        return HostsSource(file=file) if file else None

    def allocation_tasks(self, environment: Mapping[str, str], text: str) -> dict[str, int]:
        """Return the second word of each line: the slots of its host."""
        words = (line.split() for line in text.splitlines())
        return {host: int(slots) for host, slots, *_ in words}


def _state(letters: str, host: str) -> JobState:
    if "E" in letters:
        return JobState(Status.STATUS_FAILED, None, f"{letters}: it could not be started, `qstat -j` says why", host)
    if "d" in letters:
        return JobState(Status.STATUS_RUNNING, None, "it is being deleted", host, is_ending=True)
    restarts = int("R" in letters)
    if re.search("[sSTN]", letters):
        return JobState(Status.STATUS_PAUSED, None, letters, host, restarts=restarts)
    if re.search("[rt]", letters):
        return JobState(Status.STATUS_RUNNING, None, "", host, restarts=restarts)
    return JobState(Status.STATUS_QUEUED, None, letters, host, restarts=restarts)


GRID_ENGINE = GridEngine()
