"""Uses what its driver has put into the database for it: a model, a script and a function."""

import json
from pathlib import Path

import numpy as np
from smartredis import Client

client = Client(cluster=False)
assert client.model_exists("doubling")
client.put_tensor("x", np.array([[1.0, 2.0]], dtype=np.float32))
client.run_model("doubling", inputs=["x"], outputs=["twice"])
client.run_script("adding", "add_one", inputs=["twice"], outputs=["more"])
client.run_script("squaring", "square", inputs=["more"], outputs=["most"])
Path("facts.json").write_text(json.dumps(client.get_tensor("most").tolist()))
