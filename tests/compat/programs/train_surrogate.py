"""Trains a network beside the simulation that makes its samples.

python train_surrogate.py TRAINER PORT [WORKERS]
"""

import json
import sys
from pathlib import Path

from smartsim import Experiment

STEPS, SAMPLES = 6, 32

trainer_file, port, *workers = sys.argv[1:]
here = Path(__file__).parent
exp = Experiment("surrogate", launcher="local", exp_path=str(Path.cwd()))
db = exp.create_database(port=int(port), interface="lo")
exp.generate(db, overwrite=True)
exp.start(db)

simulation_settings = exp.create_run_settings(
    sys.executable, ["heat_simulation.py", f"--steps={STEPS}", f"--samples={SAMPLES}"]
)
simulation = exp.create_model("simulation", simulation_settings)
simulation.attach_generator_files(to_copy=str(here / "heat_simulation.py"))
simulation.enable_key_prefixing()

training_settings = exp.create_run_settings(sys.executable, [trainer_file, str(STEPS * SAMPLES), *workers])
training = exp.create_model("training", training_settings, enable_key_prefixing=True)
training.attach_generator_files(to_copy=[str(here / trainer_file)])
training.register_incoming_entity(simulation)

exp.generate(simulation, training, overwrite=True)
exp.start(simulation, training, block=False, summary=False)
while not all([exp.finished(simulation), exp.finished(training)]):
    exp.poll(interval=1, verbose=False)
states = [state.value for state in exp.get_status(simulation, training)]
exp.stop(db)

losses = Path(training.path, "losses.json")
results = {"states": states, "simulation": Path(simulation.path, "simulation.out").read_text()}
Path("results.json").write_text(json.dumps(results | (json.loads(losses.read_text()) if losses.exists() else {})))
