"""Models and scripts in a database: a client puts them there, and has them run on tensors that stay there."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from smartredis import Client
from smartsim import Experiment

torch.set_num_threads(1)
torch.manual_seed(0)


class Network(torch.nn.Module):
    """Two layers, each with an activation."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    def forward(self, x):
        return torch.sigmoid(self.layers(x))


def normalize(x):
    """Return rows of mean 0 and deviation 1."""
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)


SCRIPT = """
def largest(a, b):
    return torch.maximum(a, b)

def scaled(a):
    return 10 * a
"""

exp = Experiment("inference", launcher="local", exp_path=str(Path.cwd()))
db = exp.create_database(port=int(sys.argv[1]), interface="lo")
exp.start(db)
client = Client(address=db.get_address()[0], cluster=False)
results = {}

# A network that was traced, from memory and from a file.
x = torch.rand(5, 4)
network = Network().eval()
with torch.no_grad():
    expected = network(x).numpy()
traced = torch.jit.trace(network, x)
stored = io.BytesIO()
torch.jit.save(traced, stored)
client.set_model("network", stored.getvalue(), "TORCH", device="CPU")
client.put_tensor("x", x.numpy())
client.run_model("network", inputs=["x"], outputs=["y"])
results["model"] = float(np.abs(client.get_tensor("y") - expected).max())
torch.jit.save(traced, "network.pt")
client.set_model_from_file("from_file", "network.pt", "TORCH", batch_size=4)
client.run_model("from_file", inputs="x", outputs="y2")
results["model from a file"] = float(np.abs(client.get_tensor("y2") - expected).max())
results["kept"] = client.get_model("network") == stored.getvalue()
results["exists"] = [client.model_exists(name) for name in ("network", "nothing")]

# A function, and a script with several.
client.set_function("normalize", normalize, device="CPU")
client.run_script("normalize", "normalize", ["x"], ["z"])
results["function"] = float(np.abs(client.get_tensor("z") - normalize(x).numpy()).max())
client.set_script("script", SCRIPT)
client.put_tensor("a", np.array([1.0, 5.0]))
client.put_tensor("b", np.array([3.0, 2.0]))
client.run_script("script", "largest", inputs=["a", "b"], outputs=["c"])
client.run_script("script", "scaled", inputs=["c"], outputs=["d"])
results["script"] = client.get_tensor("d").tolist()
results["text"] = client.get_script("script").strip() == SCRIPT.strip()

# What cannot be run is told, and harms nothing.
for name, inputs in (("nothing", ["x"]), ("network", ["a"])):
    try:
        client.run_model(name, inputs=inputs, outputs=["never"])
    except RuntimeError as error:
        results.setdefault("errors", []).append(str(error))
client.delete_model("network")
results["deleted"] = not client.model_exists("network")
exp.stop(db)
Path("results.json").write_text(json.dumps(results))
