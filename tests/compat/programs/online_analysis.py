"""Looks at a flow while it is computed: each field is fetched as soon as it is there."""

import json
import os
import sys
from pathlib import Path

import numpy as np
from smartredis import Client
from smartsim import Experiment

FIELDS, EVERY = 8, 20

exp = Experiment("lattice-boltzmann", launcher="local", exp_path=str(Path.cwd()))
db = exp.create_database(port=int(sys.argv[1]), interface="lo")
solver = exp.create_run_settings(
    sys.executable, [str(Path(__file__).with_name("lattice_boltzmann.py")), str(FIELDS * EVERY), str(EVERY)]
)
solver = exp.create_model("solver", run_settings=solver, enable_key_prefixing=True)
exp.start(db)
exp.start(solver, block=False, summary=False)

# The driver reads as a program would whose incoming entity the solver is.
os.environ["SSKEYIN"] = solver.name
client = Client(cluster=False, address=db.get_address()[0])
client.set_data_source(solver.name)
assert client.poll_tensor("cylinder", 100, 200), "the solver has put no cylinder"
solid = client.get_tensor("cylinder").astype(bool)
rows = []
for number in range(FIELDS):
    assert client.poll_dataset(f"fields_{number}", 50, 400), f"field {number} does not come"
    fields = client.get_dataset(f"fields_{number}")
    ux, uy = fields.get_tensor("ux"), fields.get_tensor("uy")
    vorticity = np.gradient(uy, axis=1) - np.gradient(ux, axis=0)
    rows.append(
        {
            "step": int(fields.get_meta_scalars("step")[0]),
            "mass": float(fields.get_meta_scalars("mass")[0]),
            "ux": float(ux.sum()),
            "inside": float(np.abs(ux[solid]).max()),
            "vorticity": float(np.abs(vorticity).max()),
        }
    )
exp.poll(interval=1, verbose=False)
state = exp.get_status(solver)[0].value
exp.stop(db)
Path("results.json").write_text(json.dumps({"rows": rows, "state": state}))
