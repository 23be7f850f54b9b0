#!/bin/bash
# Online training on one machine: a database, some producers, each a process of its own, and one trainer.
#   bash launch/laptop.sh

# The programs, and how many producers there are; each is told its number as its last argument.
producer=${PRODUCER:-python producer.py}
trainer=${TRAINER:-python trainer.py}
count=${PRODUCERS:-2}

set -eu
smartml db start --path database --port 0
trap 'kill $(jobs -p) 2> /dev/null || :; smartml db stop --path database' EXIT
trap 'exit 143' TERM INT
SSDB=$(smartml db status --path database --json | python -c 'import json, sys; print(json.load(sys.stdin)["address"])')
export SSDB SR_DB_TYPE=Standalone

names=()
for ((number = 0; number < count; number++)); do
    names+=("producer_$number")
    SSKEYOUT=producer_$number $producer "$number" & producers+=($!)
done
SSKEYIN=$(IFS=,; echo "${names[*]}") $trainer & training=$!
# What fails ends all.
wait "$training"
for process in "${producers[@]}"; do wait "$process"; done
