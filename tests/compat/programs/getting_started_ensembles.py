"""Many programs at once: replicas, parameters by each strategy, and members that were made by hand."""

import json
import sys
from pathlib import Path

from smartsim import Experiment
from smartsim.error import SmartSimError, UserStrategyError

exp = Experiment("ensembles", exp_path=str(Path.cwd()), launcher="local")
Path("say.py").write_text("print('temperature', ;TEMPERATURE;, 'name', ';NAME;')\n")
settings = exp.create_run_settings(sys.executable, exe_args="say.py")
parameters = {"TEMPERATURE": [10, 20], "NAME": ["iron", "copper"]}


def outputs(ensemble):
    """Run an ensemble, and return what each member has printed."""
    ensemble.attach_generator_files(to_configure="say.py")
    exp.generate(ensemble, overwrite=True)
    exp.start(ensemble, block=True)
    return {member.name: Path(member.path, f"{member.name}.out").read_text().strip() for member in ensemble}


def only_warm(names, values, n_models=0):
    """Choose the members that are not cold."""
    warm = [value for value in values[names.index("TEMPERATURE")] if int(value) > 10]
    return [{"TEMPERATURE": value, "NAME": name} for value in warm for name in values[names.index("NAME")]]


results = {
    "all_perm": outputs(exp.create_ensemble("grid", params=parameters, run_settings=settings)),
    "step": outputs(exp.create_ensemble("diagonal", params=parameters, run_settings=settings, perm_strategy="step")),
    "own": outputs(exp.create_ensemble("own", params=parameters, run_settings=settings, perm_strategy=only_warm)),
}
chosen = exp.create_ensemble("some", params=parameters, run_settings=settings, perm_strategy="random", n_models=3)
results["random"] = outputs(chosen)

# Equal ones, each of which puts its keys under its own name.
replicas = exp.create_ensemble("replicas", replicas=3, run_settings=exp.create_run_settings("echo", "again"))
exp.start(replicas)
results["replicas"] = [Path(member.path, f"{member.name}.out").read_text() for member in replicas.models]
results["prefixing"] = replicas.query_key_prefixing()
results["states"] = [state.value for state in exp.get_status(replicas)]

# Parameters as arguments of the command line.
sweep = exp.create_ensemble(
    "sweep",
    params={"--steps": ["1", "2"], "rate": ["0.5"]},
    params_as_args=["--steps", "rate"],
    run_settings=exp.create_run_settings("echo"),
)
results["arguments"] = [member.run_settings.exe_args for member in sweep]

for wrong in ({"perm_strategy": lambda names, values, n_models: "nonsense"}, {"run_settings": None}):
    try:
        exp.create_ensemble("wrong", params=parameters, **{"run_settings": settings, **wrong})
    except (UserStrategyError, SmartSimError) as error:
        results.setdefault("errors", []).append(isinstance(error, UserStrategyError))

Path("results.json").write_text(json.dumps(results))
