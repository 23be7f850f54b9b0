#!/bin/bash
# Online training in one job of PBS: a database on its first node, producers on all, one trainer.
#   qsub launch/pbs.sh
#PBS -N online-training
#PBS -l select=2:ncpus=4:mpiprocs=4
#PBS -l walltime=00:30:00
#PBS -V

# Make smartml and your programs known here: module load ..., source .../bin/activate

# The programs, how many ranks the producers have, and the network between the nodes (`ip address` lists them).
producer=${PRODUCER:-python producer.py}
trainer=${TRAINER:-python trainer.py}
ranks=${RANKS:-4}
interface=${INTERFACE:-ib0}

set -eu
cd "$PBS_O_WORKDIR"
smartml db start --path database --port 0 --interface "$interface"
trap 'smartml db stop --path database' EXIT
trap 'exit 143' TERM
SSDB=$(smartml db status --path database --json | python -c 'import json, sys; print(json.load(sys.stdin)["address"])')
export SSDB SR_DB_TYPE=Standalone

# With Open MPI, add -x for each variable: -x SSDB -x SR_DB_TYPE -x SSKEYOUT
SSKEYOUT=producer mpirun -n "$ranks" $producer & producers=$!
SSKEYIN=producer $trainer & training=$!
# What fails ends the job.
wait "$training"
wait "$producers"
