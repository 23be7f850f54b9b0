"""Models and scripts that a driver describes with the programs that use them; one has a database of its own."""

import io
import json
import sys
from pathlib import Path

import torch
from smartsim import Experiment
from smartsim.error import SSUnsupportedError

torch.set_num_threads(1)


class Doubling(torch.nn.Module):
    """Twice what it is given."""

    def forward(self, x):
        return 2 * x


def square(x):
    """Return the square of each number."""
    return x**2


traced = torch.jit.trace(Doubling(), torch.ones(1, 2))
stored = io.BytesIO()
torch.jit.save(traced, stored)
torch.jit.save(traced, "doubling.pt")

exp = Experiment("inference", launcher="local", exp_path=str(Path.cwd()))
db = exp.create_database(port=int(sys.argv[1]), interface="lo")
settings = exp.create_run_settings(sys.executable, exe_args=str(Path(__file__).with_name("with_models.py")))

ensemble = exp.create_ensemble("ensemble", replicas=2, run_settings=settings)
for member in ensemble:
    # Each puts its tensors under its own name, and reads them from there.
    member.register_incoming_entity(member)
ensemble.add_ml_model("doubling", "TORCH", model=stored.getvalue(), device="CPU")
own = exp.create_model("own", settings)
own.colocate_db_tcp(port=int(sys.argv[2]), ifname="lo", custom_pinning=[], db_identifier="")
own.add_ml_model("doubling", "TORCH", model_path=str(Path("doubling.pt").absolute()), device="CPU")
for entity in (ensemble, own):
    entity.add_script("adding", script="def add_one(x):\n    return x + 1\n", device="CPU")
ensemble.add_function("squaring", function=square, device="CPU")
own.add_script("squaring", script="def square(x):\n    return x ** 2\n", device="CPU")

refused = []
for arguments in ({"device": "CPU", "devices_per_node": 2}, {"device": "TPU"}, {"model": None}):
    try:
        ensemble.add_ml_model("wrong", "TORCH", **{"model": stored.getvalue(), **arguments})
    except SSUnsupportedError:
        refused.append("SSUnsupportedError")
    except ValueError:
        refused.append("ValueError")

# One after the other: `own` finds its database by the same variable.
exp.start(own, block=True)
exp.start(db)
exp.start(ensemble, block=True)
programs = [*ensemble, own]
results = {
    "answers": [json.loads(Path(one.path, "facts.json").read_text()) for one in programs],
    "states": [state.value for state in exp.get_status(*programs)],
    "refused": refused,
}
exp.stop(db)
Path("results.json").write_text(json.dumps(results))
