#!/bin/bash
# Online training by mpirun, without a scheduler: a database here, producers on this or other machines, one trainer.
#   bash launch/mpirun.sh

# The programs, how many ranks the producers have, further options of mpirun such as "-hosts a,b", and the network
# between the machines (`ip address` lists them; "lo" is for this machine alone).
producer=${PRODUCER:-python producer.py}
trainer=${TRAINER:-python trainer.py}
ranks=${RANKS:-4}
options=${OPTIONS:-}
interface=${INTERFACE:-lo}

set -eu
smartml db start --path database --port 0 --interface "$interface"
trap 'kill $(jobs -p) 2> /dev/null || :; smartml db stop --path database' EXIT
trap 'exit 143' TERM INT
SSDB=$(smartml db status --path database --json | python -c 'import json, sys; print(json.load(sys.stdin)["address"])')
export SSDB SR_DB_TYPE=Standalone

# With Open MPI, add -x for each variable: -x SSDB -x SR_DB_TYPE -x SSKEYOUT
SSKEYOUT=producer mpirun -n "$ranks" $options $producer & producers=$!
SSKEYIN=producer $trainer & training=$!
# What fails ends all.
wait "$training"
wait "$producers"
