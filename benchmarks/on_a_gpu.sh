#!/usr/bin/env bash
# Everything that a machine with a CUDA device is needed for, when one is at hand: the tests that need it, the run that fills
# benchmarks/results, and the profiles of the steps that missed a target.
#
#     bash benchmarks/on_a_gpu.sh [STAGE …]        stages: machine install tests bench profile; without any: all
#
# It fetches nothing. Each stage has its own time limit (TESTS_S, BENCH_S, PROFILE_S in seconds), and what goes wrong in one
# stops none of the others. Everything is written as it goes to $OUT, or else to benchmarks/results. Called again, with
# RESUME=1, the run continues where it stopped. PYTHON names the interpreter. DRY_RUN=1 walks through it without a device.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-$PWD/benchmarks/results}
python=${PYTHON:-python3}
stages=${*:-machine install tests bench profile}
failed=()
mkdir -p "$out" || exit 2

run() { # NAME SECONDS COMMAND …: its output in $out/NAME.log as well
    local name=$1 limit=$2 started=$SECONDS code
    shift 2
    printf '\n== %s (at most %d s)\n' "$name" "$limit"
    PYTHONUNBUFFERED=1 timeout --kill-after=20 "$limit" "$@" 2>&1 | tee "$out/$name.log"
    code=${PIPESTATUS[0]}
    printf '== %s: exit code %d after %d s\n' "$name" "$code" "$((SECONDS - started))"
    [ "$code" -eq 0 ] || failed+=("$name")
}

bench() { # OPTIONS …
    "$python" -P -m fusedstep bench --device cuda --output "$out" ${DRY_RUN:+--dry-run} "$@"
}
export -f bench
export python out DRY_RUN="${DRY_RUN:-}"

for stage in $stages; do
    case $stage in
    machine) run machine 60 bash -c 'nvidia-smi || true; "$python" -V; "$python" -m pip list 2>/dev/null | grep -iE \
        "^(numpy|numba|numba-cuda|cupy|torch|triton|jax|jaxlib|optax|nvidia-cublas|nvmath|cuda-)"; exit 0' ;;
    install) run install 180 "$python" -m pip install --quiet --no-deps --no-build-isolation -e . ;;
    tests)
        needed=--require-gpu
        [ -z "$DRY_RUN" ] || needed=-qq\ --collect-only
        run tests "${TESTS_S:-420}" "$python" -m pytest -q -m gpu $needed -p no:cacheprovider --junitxml="$out/tests.xml" tests/gpu
        ;;
    bench) run bench "${BENCH_S:-560}" bash -c 'bench ${RESUME:+--resume}' ;;
    # What the run had no time for: the profiles of the steps that missed a target, the largest gap first.
    profile) run profile "${PROFILE_S:-120}" bash -c 'bench --resume --parts profile' ;;
    *) printf 'expected stages out of machine, install, tests, bench, profile; got %s\n' "$stage" >&2; exit 2 ;;
    esac
done
[ ${#failed[@]} -eq 0 ] || { printf '\nfailed: %s\n' "${failed[*]}"; exit 1; }
