#!/usr/bin/env bash
# Everything that a machine with a CUDA device is needed for, when one is at hand: the tests that need it, the run that fills
# benchmarks/results, what that run had no time for, and the profiles of the steps that missed a target.
#
#     bash benchmarks/on_a_gpu.sh [STAGE …]        stages: machine install compile tests bench again profile; without any: all
#
# It fetches nothing. Each stage has its own time limit (COMPILE_S, TESTS_S, BENCH_S, AGAIN_S, PROFILE_S in seconds; half an hour
# together), and what goes wrong in one stops none of the others. Everything is written as it goes to $OUT, or else to
# benchmarks/results: three logs, the tests' XML, and the report as JSON and Markdown. Called again, with RESUME=1, the run
# continues where it stopped. PYTHON names the interpreter. DRY_RUN=1 walks through it without a device.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-$PWD/benchmarks/results}
python=${PYTHON:-python3}
stages=${*:-machine install compile tests bench again profile}
failed=()
mkdir -p "$out" || exit 2
# A time that is over is said by an interrupt, at which pytest still writes what it knows; a script in the background ignores it.
interruptible=
env --default-signal=INT true 2>/dev/null && interruptible='env --default-signal=INT'

run() { # NAME LOG SECONDS COMMAND …: its output goes to the end of $out/LOG.log as well
    local name=$1 log=$out/$2.log limit=$3 started=$SECONDS code
    shift 3
    printf '\n== %s (at most %d s)\n' "$name" "$limit" | tee -a "$log"
    PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 timeout --signal=INT --kill-after=20 "$limit" $interruptible "$@" 2>&1 | tee -a "$log"
    code=${PIPESTATUS[0]}
    printf '== %s: exit code %d after %d s\n' "$name" "$code" "$((SECONDS - started))" | tee -a "$log"
    [ "$code" -eq 0 ] || failed+=("$name")
}

bench() { # OPTIONS …
    exec "$python" -P -m fusedstep bench --device cuda --output "$out" ${DRY_RUN:+--dry-run} "$@"
}
export -f bench
export python out DRY_RUN="${DRY_RUN:-}"

importable() {
    "$python" -P -c 'import fusedstep' 2>/dev/null
}

for stage in $stages; do
    case $stage in
    machine) run machine machine 60 bash -c 'nvidia-smi || true; "$python" -V; "$python" -m pip list 2>/dev/null | grep -iE \
        "^(numpy|scipy|numba|llvmlite|cupy|torch|triton|jax|optax|nvidia-|nvmath|cuda-|ml.dtypes|pytest|hypothesis)"; exit 0' ;;
    install) run install machine 180 "$python" -m pip install --quiet --no-deps --no-build-isolation -e . ;;
    esac
    if [ "$stage" != machine ] && ! importable; then
        # The checkout is the package, so a link of that name will do where nothing can be installed.
        site=$(mktemp -d) && ln -s "$PWD" "$site/fusedstep" && export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
        importable || printf 'fusedstep cannot be imported:\n%s\n' "$("$python" -P -c 'import fusedstep' 2>&1)" | tee -a "$out/machine.log"
    fi
    case $stage in
    machine) ;;
    install) run backends machine 60 "$python" -P -m fusedstep backends ;; # which work here, and why the others do not
    # On all cores, once: what tests and bench find in the kernel cache need not be waited for.
    compile) run compile machine "${COMPILE_S:-120}" "$python" -P -m fusedstep.kernels.warm ;;
    tests)
        needed=--require-gpu
        [ -z "$DRY_RUN" ] || needed=-qq\ --collect-only
        # Warnings of other versions of other libraries are no reason to lose a result.
        run tests tests "${TESTS_S:-420}" "$python" -m pytest -v --tb=short -m gpu $needed -W default -p no:cacheprovider \
            -o faulthandler_timeout=150 --durations=10 --junitxml="$out/tests.xml" tests/gpu
        ;;
    bench) run bench bench "${BENCH_S:-560}" bash -c 'bench ${RESUME:+--resume}' ;;
    # The parts that were cut short or failed: in a new process, with what is compiled by now, and twice their time.
    again) run again bench "${AGAIN_S:-300}" bash -c 'bench --resume --budget 900' ;;
    # What the run had no time for: the profiles of the steps that missed a target, the largest gap first.
    profile) run profile bench "${PROFILE_S:-120}" bash -c 'bench --resume --parts profile' ;;
    *) printf 'expected stages out of machine, install, compile, tests, bench, again, profile; got %s\n' "$stage" >&2; exit 2 ;;
    esac
done
[ ${#failed[@]} -eq 0 ] || { printf '\nfailed: %s\n' "${failed[*]}"; exit 1; }
