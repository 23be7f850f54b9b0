"""Several databases in one experiment, each with a name by which programs find it."""

import json
import sys
from pathlib import Path

import numpy as np
from smartredis import Client
from smartsim import Experiment
from smartsim.error import SSDBIDConflictError

exp = Experiment("two-databases", launcher="local", exp_path=str(Path.cwd()))
hot = exp.create_database(port=int(sys.argv[1]), db_nodes=1, interface="lo", db_identifier="hot")
cold = exp.create_database(port=int(sys.argv[2]), db_nodes=1, interface="lo", db_identifier="cold")
exp.start(hot, cold)

given = np.arange(5, dtype=np.float64)
Client(cluster=False, address=hot.get_address()[0]).put_tensor("given", given)

program = Path(__file__).with_name("with_two_databases.py")
between = exp.create_model("between", exp.create_run_settings(sys.executable, exe_args=[str(program)]))
exp.start(between)
taken = Client(cluster=False, address=cold.get_address()[0]).get_tensor("taken")

# A third that would go by a name that is taken.
again = exp.create_database(port=int(sys.argv[3]), interface="lo", db_identifier="hot")
try:
    exp.start(again)
    refused = False
except SSDBIDConflictError:
    refused = True

results = {
    "taken": taken.tolist(),
    "output": Path(between.path, "between.out").read_text(),
    "refused": refused,
    "identifiers": sorted(exp.db_identifiers),
}
exp.stop(hot, cold)
results["states"] = [state.value for state in exp.get_status(hot, cold)]
Path("results.json").write_text(json.dumps(results))
