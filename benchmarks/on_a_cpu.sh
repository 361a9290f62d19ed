#!/usr/bin/env bash
# All reports of docs/performance.md for this processor, in about a quarter of an hour on two cores: whole trainings and predictions
# of two sets of networks, starts, single steps, and steps and trainings by ranks, on `numba`, each beside all peers that are
# installed.
#
#     bash benchmarks/on_a_cpu.sh NAME [standard] [varied] [starts] [steps] [ranks]       without a part: all, one after the other
#
# Each part writes NAME-PART.json, .md and .html to $OUT, or else to benchmarks/results. PYTHON names the interpreter, and
# FUSEDSTEP_COMMIT the commit where there is no .git. Nothing is installed: the peers come with `pip install ".[peers]"`. Run it
# on a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { printf 'expected a NAME for the reports, such as cpu-epyc-2-cores-2026-11-29\n' >&2 && exit 2; }
name=$1 && shift
[ $# -gt 0 ] || set -- standard varied starts steps ranks
for part in "$@"; do
    case $part in
    steps) options=(--grid standard --rounds 3 --peers torch,torch-compile,jax) ;;
    standard) options=(--fit --predict --grid standard --rounds 5 --peers all) ;;
    varied) options=(--fit --predict --grid varied --rounds 3 --peers all) ;;
    starts) options=(--start --rounds 5 --peers all) ;;
    ranks) options=(--ranks 1,2 --rounds 15) ;;
    *) printf 'expected standard, varied, starts, steps or ranks; got %s\n' "$part" >&2 && exit 2 ;;
    esac
    to=${OUT:-benchmarks/results}/$name-$part
    "${PYTHON:-python3}" -P -m fusedstep bench "${options[@]}" --backends numba --out "$to.json" --markdown "$to.md" --html "$to.html"
done
