"""Single programs: what a model is, how it is started, waited for and asked."""

import json
import sys
from pathlib import Path

from smartsim import Experiment
from smartsim.log import get_logger
from smartsim.settings import MpirunSettings, RunSettings
from smartsim.status import TERMINAL_STATUSES, SmartSimStatus

logger = get_logger("models")
exp = Experiment("getting-started", launcher="local", exp_path=str(Path.cwd()))

# One that ends by itself, and blocks until it has.
settings = exp.create_run_settings(exe="echo", exe_args="Hello, world!")
hello = exp.create_model("hello", settings)
exp.start(hello, block=True, summary=True)
assert exp.finished(hello)
logger.info("hello said %s", Path(hello.path, "hello.out").read_text().strip())

# Two that run side by side, one with settings made by hand.
loop = "import os, sys; print(os.environ['COLOUR'], sys.argv[1:]); sys.exit(int(sys.argv[1]))"
right = RunSettings(sys.executable, exe_args=["-c", loop, "0"], env_vars={"COLOUR": "green"})
wrong = exp.create_run_settings(sys.executable, exe_args=["-c", loop])
wrong.add_exe_args("3")
wrong.update_env({"COLOUR": "red"})
models = [exp.create_model("right", right), exp.create_model("wrong", wrong)]
exp.start(*models, block=False)
exp.poll(interval=1, verbose=False)
states = exp.get_status(*models)
assert all(state in TERMINAL_STATUSES for state in states)

# One that would not end, and is stopped.
endless = exp.create_model("endless", exp.create_run_settings("sleep", "600"), path=str(Path("elsewhere").absolute()))
exp.start(endless, block=False)
running = exp.get_status(endless)[0]
exp.stop(endless)

# Its command line is made though no such program is here.
mpi = MpirunSettings("echo", "MPI", run_args={"n": 2}, fail_if_missing_exec=False)
mpi.set_tasks_per_node(2)
mpi.set("bind-to", "core")
mpi.set_hostlist(["n1", "n2"])

Path("results.json").write_text(
    json.dumps(
        {
            "hello": Path(hello.path, "hello.out").read_text(),
            "states": [state.value for state in states],
            "outputs": [Path(model.path, f"{model.name}.out").read_text() for model in models],
            "was running": running in (SmartSimStatus.STATUS_NEW, SmartSimStatus.STATUS_RUNNING),
            "stopped": exp.get_status(endless)[0] == SmartSimStatus.STATUS_CANCELLED,
            "summary": exp.summary(),
            "mpirun": mpi.format_run_args(),
        }
    )
)
