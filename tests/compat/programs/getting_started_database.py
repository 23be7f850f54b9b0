"""A database that a driver and its programs share, and keys that do not collide."""

import json
import socket
import sys
from pathlib import Path

import numpy as np
from smartredis import Client
from smartsim import Experiment

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

here = Path(__file__).parent
exp = Experiment("database", exp_path=str(Path.cwd()), launcher="local")
db = exp.create_database(db_nodes=1, port=port, interface="lo")
exp.generate(db)
exp.start(db)
assert db.is_active()
address = db.get_address()[0]
client = Client(address=address, cluster=False)

# What the driver puts, it finds again.
client.put_tensor("own", np.arange(6, dtype=np.float32).reshape(2, 3))
back = client.get_tensor("own")

# Two producers put the same names, and a consumer tells them apart.
settings = exp.create_run_settings(sys.executable, exe_args=[str(here / "producer.py")])
producers = exp.create_ensemble("producer", replicas=2, run_settings=settings)
for number, member in enumerate(producers, 1):
    member.run_settings.add_exe_args(str(number))
reading = exp.create_run_settings(sys.executable, [str(here / "consumer.py"), "producer_0", "producer_1"])
consumer = exp.create_model("consumer", reading, enable_key_prefixing=True)
consumer.register_incoming_entity(producers)
exp.start(producers, consumer, block=True, summary=False)

results = {
    "own": [back.tolist(), str(back.dtype)],
    "states": [state.value for state in exp.get_status(producers, consumer)],
    "consumer": Path(consumer.path, "consumer.out").read_text().splitlines(),
    "total": client.get_tensor("consumer.total").tolist(),
    "exists": [client.tensor_exists(name) for name in ("producer_0.field", "field")],
    "lengths": [client.get_list_length(f"producer_{number}.all") for number in range(2)],
    "identifiers": sorted(exp.db_identifiers),
}

db.set_db_conf("maxmemory", "100mb")
results["maxmemory"] = client.config_get("maxmemory", address)["maxmemory"]
exp.stop(db)
results["database"] = exp.get_status(db)[0].value
Path("results.json").write_text(json.dumps(results))
