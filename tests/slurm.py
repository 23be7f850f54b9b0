"""A Slurm of several nodes on this machine, for the tests that submit to a real scheduler."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from servers import wait_until

# Without root, munge, systemd and cgroups, on loopback only; `auth/none` trusts every user of this machine.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,bf_interval=1,bf_hetjob_immediate
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MessageTimeout=2
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
NodeName=n[1-{count}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=4
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

# What makes the commands of slurm-wlm-torque set the variables of PBS.
PBS_PLUGIN = Path("/usr/lib/x86_64-linux-gnu/slurm-wlm/spank_pbs.so")


class LocalSlurm:
    """Daemons of one Slurm, whose nodes `n1`, `n2`, ... all are this machine; commands find it by `environment`."""

    def __init__(self, folder, count=4):
        self.folder = Path(folder)
        self.nodes = [f"n{number + 1}" for number in range(count)]
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons = {}

    def __enter__(self):
        for name in ("state", "log", "spool", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        port = _free_ports(1 + len(self.nodes))
        self._host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(
            folder=self.folder,
            host=self._host,
            user=getpass.getuser(),
            port=port,
            count=len(self.nodes),
            first=port + 1,
            last=port + len(self.nodes),
        )
        (self.folder / "slurm.conf").write_text(text)
        if PBS_PLUGIN.exists():
            (self.folder / "plugstack.conf").write_text(f"optional {PBS_PLUGIN}\n")
        try:
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            wait_until(self.is_idle)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self.cancel_all()
        for name in list(self._daemons):
            self._stop(name)

    def start_controller(self):
        """Start the daemon that all commands ask."""
        self._start("slurmctld", "slurmctld", "-D")

    def stop_controller(self):
        """Let no command have an answer; jobs go on."""
        self._stop("slurmctld")

    def start_node(self, node):
        self._start(node, "slurmd", "-D", "-N", node)

    def run(self, *words):
        """Return what a command of Slurm printed; it must work."""
        done = self.ask(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def ask(self, *words):
        return subprocess.run(words, env={**os.environ, **self.environment}, capture_output=True, text=True)

    def jobs(self):
        """Return what is in the queue, as Slurm's ids."""
        return self.run("squeue", "--noheader", "--format=%A").split()

    def is_idle(self):
        """Tell whether all nodes are there, with nothing to do."""
        done = self.ask("sinfo", "--noheader", "--Node", "--format=%t")
        return done.stdout.split() == ["idle"] * len(self.nodes)

    def fail(self, node):
        """Let a node fail, as far as Slurm can see."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def repair(self):
        """Bring all nodes and the queue back to where they were in the beginning."""
        self.cancel_all()
        down = self.run("sinfo", "--noheader", "--Node", "--states=down,drain", "--format=%N").split()
        for node in dict.fromkeys(down):
            self.run("scontrol", "update", f"nodename={node}", "state=resume")
        wait_until(self.is_idle)

    def cancel_all(self):
        # An ordinary end of a session, too: there may be no controller any more.
        self.ask("scancel", "--user", getpass.getuser())
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.ask("squeue", "--noheader").stdout.strip(), deadline_s=10)

    def _start(self, name, *words):
        with open(self.folder / "log" / "daemons.out", "ab") as log:
            # They end with this process, even where that is killed. Not as daemons of their own, whose end could not
            # be waited for.
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", _program(words[0]), *words[1:]],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop(self, name):
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()


def need_slurm():
    """Skip the test where Slurm is not installed."""
    for command in ("slurmctld", "slurmd", "sbatch", "setpriv"):
        if not _program(command):
            pytest.skip(f"no {command}: apt-get install slurm-wlm")


def _program(name):
    # The daemons lie where the PATH of an ordinary user does not lead.
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _free_ports(count):
    """Return the first of so many ports in a row that nobody listens on."""
    while True:
        with contextlib.ExitStack() as stack:
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            # Below those that the kernel gives to clients, which would take one of the row.
            first = probe.getsockname()[1] % 10_000 + 20_000
            with contextlib.suppress(OSError):
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
                return first
