#!/bin/bash
# Online training in one job of Slurm: a database on its first node, producers on all, one trainer.
#   sbatch launch/slurm.sh
#SBATCH --job-name=online-training
#SBATCH --nodes=2
#SBATCH --ntasks=5
#SBATCH --time=00:30:00

# Make smartml and your programs known here: module load ..., source .../bin/activate

# The programs, how many ranks the producers have, and the network between the nodes (`ip address` lists them).
producer=${PRODUCER:-python producer.py}
trainer=${TRAINER:-python trainer.py}
ranks=${RANKS:-4}
interface=${INTERFACE:-ib0}

set -eu
smartml db start --path database --port 0 --interface "$interface"
trap 'smartml db stop --path database' EXIT
trap 'exit 143' TERM
SSDB=$(smartml db status --path database --json | python -c 'import json, sys; print(json.load(sys.stdin)["address"])')
export SSDB SR_DB_TYPE=Standalone

SSKEYOUT=producer srun --ntasks="$ranks" --exact $producer & producers=$!
SSKEYIN=producer srun --nodes=1 --ntasks=1 --exact $trainer & training=$!
# What fails ends the job.
wait "$training"
wait "$producers"
