#!/bin/bash
# Online training in one job of LSF: a database on its first node, producers on all, one trainer.
#   bsub < launch/lsf.sh
#BSUB -J online-training
#BSUB -n 8
#BSUB -W 00:30
#BSUB -o online-training.%J.out
#BSUB -e online-training.%J.err

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

# Where there is jsrun: jsrun -n "$ranks" -E SSDB -E SR_DB_TYPE -E SSKEYOUT ...
SSKEYOUT=producer mpirun -n "$ranks" $producer & producers=$!
SSKEYIN=producer $trainer & training=$!
# What fails ends the job.
wait "$training"
wait "$producers"
