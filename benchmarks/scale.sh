#!/usr/bin/env bash
# The measurements of docs/scale.md between two hosts that this machine pretends to be, in two minutes, and the model of them.
#
#     bash benchmarks/scale.sh [FOLDER]
#
# The times of each network go to FOLDER, or else to benchmarks/results/two-hosts, with the tables of the model in model.md; the
# figure goes to docs/figures/scale.svg. ROUNDS is 9 unless set. two_hosts.sh tells what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
folder=${1:-benchmarks/results/two-hosts}
mkdir -p "$folder"
fit=() check=()
measure() { # GBIT DELAY DIVISORS
    bash benchmarks/two_hosts.sh --ahead --rate "$1gbit" --delay "$2" "$python" -P -m fusedstep.benchmarks.communication \
        --rounds "${ROUNDS:-9}" --gbit "$1" --delay-ms "$2" --divisors "$3" --out "$folder/$1-$2.json"
}
for network in "0.25 0 1,8,64,512" "2 0" "0.5 2"; do
    read -r gbit delay divisors <<<"$network"
    measure "$gbit" "$delay" "$divisors"
    fit+=("$folder/$gbit-$delay.json")
done
for network in "1 0" "1 1" "0.3 3"; do
    read -r gbit delay <<<"$network"
    measure "$gbit" "$delay" ""
    check+=("$folder/$gbit-$delay.json")
done
"$python" -P -m fusedstep.benchmarks.scale_model --fit "${fit[@]}" --check "${check[@]}" --figure docs/figures/scale.svg |
    tee "$folder/model.md"
