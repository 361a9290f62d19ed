#!/usr/bin/env bash
# Everything that a machine with a CUDA device is needed for, when one is at hand: the tests that need it, the run that fills
# benchmarks/results, what that run had no time for, and the profiles of the steps that missed a target.
#
#     bash benchmarks/on_a_gpu.sh [STAGE …]        stages: machine install compile tests bench again profile; without any: all
#
# It fetches nothing. Each stage has its own time limit (COMPILE_S, TESTS_S, BENCH_S, AGAIN_S, PROFILE_S in seconds; not much more
# than half an hour together, and less is needed), LIMIT_S ends all of them so many seconds after the call, and what goes wrong in
# one stops none of the others.
# Everything is written as it goes to $OUT, or else to benchmarks/results: three logs, the tests' XML, and the report as JSON and
# Markdown. Called again, with RESUME=1, the run continues where it stopped, from the report that is in $OUT, or else from the
# one of this day that an earlier call left in $KEPT or that lies in benchmarks/results. PYTHON names the interpreter, and
# FUSEDSTEP_COMMIT the commit where there is no .git. DRY_RUN=1 walks through it without a device. Where a call may last ten
# minutes, three of them do everything:
#
#     LIMIT_S=570 bash benchmarks/on_a_gpu.sh machine install compile tests
#     LIMIT_S=570 bash benchmarks/on_a_gpu.sh bench
#     LIMIT_S=570 bash benchmarks/on_a_gpu.sh again profile
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-$PWD/benchmarks/results}
kept=${KEPT:-${XDG_CACHE_HOME:-$HOME/.cache}/fusedstep/on-a-gpu}
python=${PYTHON:-python3}
stages=${*:-machine install compile tests bench again profile}
kind='nvidia-*' # of the reports that are taken up, by their names
[ -z "${DRY_RUN:-}" ] || kind=dry-run
ended=3 # exit code of a benchmark that lost the device or hung: another process goes on
failed=()
mkdir -p "$out" ${OUT:+"$kept"} || exit 2
# A time that is over is said by an interrupt, at which pytest still writes what it knows; a script in the background ignores it.
interruptible=
env --default-signal=INT true 2>/dev/null && interruptible='env --default-signal=INT'

left() { # SECONDS: so many, or what is left of this call
    local rest=$((${LIMIT_S:-86400} - SECONDS))
    echo $(($1 < rest ? $1 : rest))
}

run() { # NAME LOG SECONDS COMMAND …: its output goes to the end of $out/LOG.log as well; its exit code is in $code
    local name=$1 log=$out/$2.log limit started=$SECONDS
    limit=$(left "$3")
    shift 3
    if [ "$limit" -le 0 ]; then
        printf '\n== %s: no time is left for it\n' "$name" | tee -a "$log"
        code=124
    else
        printf '\n== %s (at most %d s)\n' "$name" "$limit" | tee -a "$log"
        PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 timeout --signal=INT --kill-after=20 "$limit" $interruptible "$@" 2>&1 | tee -a "$log"
        code=${PIPESTATUS[0]}
        printf '== %s: exit code %d after %d s\n' "$name" "$code" "$((SECONDS - started))" | tee -a "$log"
    fi
    [ "$code" -eq 0 ] || failed+=("$name")
}

bench() { # OPTIONS …
    exec "$python" -P -m fusedstep bench --device cuda --output "$out" ${DRY_RUN:+--dry-run} "$@"
}
export -f bench
export python out DRY_RUN="${DRY_RUN:-}"

measure() { # NAME SECONDS OPTIONS …: where a process ends in the middle, up to three others go on with the parts that are left
    local name=$1 until=$((SECONDS + $2)) more=3
    shift 2
    [[ " $* " != *" --resume "* ]] || bring
    run "$name" bench $((until - SECONDS)) bash -c 'bench "$@"' bench "$@"
    while [ "$code" -ge $ended ] && [ "$(left $((until - SECONDS)))" -gt 40 ] && [ $((more--)) -gt 0 ]; do
        keep
        run "$name" bench $((until - SECONDS)) bash -c 'bench "$@"' bench --resume "$@"
    done
    keep
}

reports() { # FOLDER: those of this day in it
    find "$1" -maxdepth 1 -name "$kind-$(date -u +%F).json" 2>/dev/null
}

keep() { # What was found so far, for a call that finds an empty $OUT
    [ -z "${OUT:-}" ] || reports "$out" | while read -r file; do cp -f "$file" "$kept/"; done
}

bring() { # The reports of earlier calls, where $OUT has none
    local folder
    for folder in "$kept" "$PWD/benchmarks/results"; do
        [ -n "${OUT:-}" ] && [ -z "$(reports "$out")" ] || return 0
        reports "$folder" | while read -r file; do cp -f "$file" "$out/" && printf 'taken up: %s\n' "$file"; done
    done
}

importable() {
    "$python" -P -c 'import fusedstep' 2>/dev/null
}

has() { # MODULE
    "$python" -P -c "import $1" 2>/dev/null
}

for stage in $stages; do
    case $stage in
    machine) run machine machine 60 bash -c 'nvidia-smi || true; nvidia-smi -q -d CLOCK,POWER || true; "$python" -V; "$python" -m pip list \
        2>/dev/null | grep -iE "^(numpy|scipy|numba|llvmlite|cupy|torch|triton|jax|optax|nvidia-|nvmath|cuda-|ml.dtypes|pytest|hypothesis)"; exit 0' ;;
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
    # On all cores, once: what tests and bench find in the kernel cache need not be waited for, nor what the processor's step needs.
    compile)
        run compile machine "${COMPILE_S:-120}" bash -c '"$python" -P -m fusedstep profile 64-64-64-64@4096 --backend numba \
            --repeats 1 >/dev/null 2>&1 & "$python" -P -m fusedstep.kernels.warm; code=$?; wait; exit $code'
        ;;
    tests)
        needed=--require-gpu
        [ -z "$DRY_RUN" ] || needed=-qq\ --collect-only
        # Several processes compile on several cores, and one that lost its device, or hangs, is replaced by another one.
        beside=
        has xdist && beside='-n 8 --dist worksteal'
        has pytest_timeout && beside="$beside --timeout=300 --timeout-method=thread"
        # Warnings of other versions of other libraries are no reason to lose a result.
        run tests tests "${TESTS_S:-400}" "$python" -m pytest -v --tb=short -m gpu $needed $beside -W default -p no:cacheprovider \
            -o faulthandler_timeout=150 --durations=10 --junitxml="$out/tests.xml" tests/gpu
        # Products that were chosen by the clock while others used the device are chosen anew.
        "$python" -P -c 'from fusedstep.kernels.targets import cache
for file in cache.folder().glob("products_*.json") if cache.folder() else (): file.unlink()'
        ;;
    bench) measure bench "${BENCH_S:-520}" ${RESUME:+--resume} ;;
    # The parts that were cut short or failed: in a new process, with what is compiled by now, and twice their time.
    again) measure again "${AGAIN_S:-440}" --resume --budget 900 ;;
    # What the run had no time for: the profiles of the steps that missed a target, the largest gap first.
    profile) measure profile "${PROFILE_S:-120}" --resume --parts profile --budget 100 ;;
    *) printf 'expected stages out of machine, install, compile, tests, bench, again, profile; got %s\n' "$stage" >&2; exit 2 ;;
    esac
done
[ ${#failed[@]} -eq 0 ] || { printf '\nfailed: %s\n' "${failed[*]}"; exit 1; }
