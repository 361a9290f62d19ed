#!/usr/bin/env bash
# Everything that a machine with a CUDA device is needed for, in two calls that take less than ten minutes together: the tests
# that need a device, and the run that fills benchmarks/results.
#
#     bash benchmarks/on_a_gpu.sh [check] [measure] [--resume] [--parts LIST]       without a call: both, one after the other
#
# check (330 s): versions; a preflight, which ends the call with the reason where the device does not do what all the rest needs;
# all kernels compiled on all cores; the tests, the most valuable first. measure (240 s): fused Adam, plain products and the copy
# rate, then whole steps beside all peers, the shortest first; --parts names other parts (see `fusedstep bench --help`). What
# does not fit is left out and named. CHECK_S and MEASURE_S set other limits; each call prints its plan before it begins.
#
# Nothing is fetched or installed. Everything is written as it goes to $OUT, or else to benchmarks/results: three logs, the
# results of the tests as lines (tests.txt) and as XML, and the report as JSON and Markdown. With --resume, or RESUME=1, tests that
# failed or did not run are run, and the report goes on with the parts that are missing, cut short or failed: also where $OUT is
# empty, from what an earlier call left in $KEPT or in benchmarks/results. Compiled kernels and choices of products wait in the
# kernel cache. PYTHON names the interpreter, and FUSEDSTEP_COMMIT the commit where there is no .git. DRY_RUN=1 walks through both
# calls without a device.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-$PWD/benchmarks/results}
kept=${KEPT:-${XDG_CACHE_HOME:-$HOME/.cache}/fusedstep/on-a-gpu}
python=${PYTHON:-python3}
dry=${DRY_RUN:-}
kind='nvidia-*' # of the reports that are taken up, by their names
[ -z "$dry" ] || kind=dry-run
ended=3 # exit code of a benchmark that lost the device or hung: another process goes on
calls=()
resume=${RESUME:+--resume}
parts=
failed=()
while [ $# -gt 0 ]; do
    case $1 in
    check | measure) calls+=("$1") ;;
    --resume) resume=--resume ;;
    --parts) parts=${2:-} && shift ;;
    *) printf 'expected check, measure, --resume or --parts LIST; got %s\n' "$1" >&2 && exit 2 ;;
    esac
    shift
done
[ ${#calls[@]} -gt 0 ] || calls=(check measure)
mkdir -p "$out" ${OUT:+"$kept"} || exit 2
# A time that is over is said by an interrupt; a script in the background ignores it.
interruptible=
env --default-signal=INT true 2>/dev/null && interruptible='env --default-signal=INT'
# Where Numba finds NVVM if no package brings it.
if [ -z "${CUDA_HOME:-}${CUDA_PATH:-}" ]; then
    nvcc=$(command -v nvcc || command -v /usr/local/cuda/bin/nvcc)
    home=$(dirname "$(dirname "$(readlink -f "${nvcc:-/}")")")
    [ ! -d "$home/nvvm" ] || export CUDA_HOME=$home
fi

left() { # How many seconds of this call are left, but for those that its end takes
    echo $((limit - SECONDS - $(planned ending)))
}

planned() { # PART: its seconds
    awk -v part="$1" '$1 == part { print $2 }' <<<"$plan"
}

say() { # LOG WORDS …
    local log=$1
    shift
    printf '\n== %s\n' "$*" | tee -a "$out/$log.log"
}

run() { # NAME LOG SECONDS COMMAND …: its output goes to the end of $out/LOG.log as well; its exit code is in $code
    local name=$1 log=$2 most=$3 started=$SECONDS
    shift 3
    [ "$most" -le "$(left)" ] || most=$(left)
    if [ "$most" -le 0 ]; then
        say "$log" "$name: no time is left for it"
        code=124
    else
        say "$log" "$name (at most $most s)"
        PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 timeout --signal=INT --kill-after=8 "$most" $interruptible "$@" 2>&1 | tee -a "$out/$log.log"
        code=${PIPESTATUS[0]}
        say "$log" "$name: exit code $code after $((SECONDS - started)) s"
    fi
    [ "$code" -eq 0 ] || failed+=("$name")
}

has() { # MODULE
    "$python" -P -c "import $1" 2>/dev/null
}

files() { # FOLDER: the reports of this day in it, and the results of tests where they are as new
    find "$1" -maxdepth 1 \( -name "$kind-$(date -u +%F).json" -o -name tests.txt -mmin -1440 \) 2>/dev/null
}

keep() { # What was found so far, for a call that finds an empty $OUT
    [ -z "${OUT:-}" ] || files "$out" | while read -r file; do cp -f "$file" "$kept/"; done
}

bring() { # What earlier calls found, where $OUT does not have it
    local folder file
    [ -n "$resume" ] && [ -n "${OUT:-}" ] || return 0
    for folder in "$kept" "$PWD/benchmarks/results"; do
        while read -r file; do
            [ -e "$out/${file##*/}" ] || { cp "$file" "$out/" && printf 'taken up: %s\n' "$file"; }
        done < <(files "$folder")
    done
}

check() {
    run versions machine "$(planned versions)" bash -c 'nvidia-smi || true; nvidia-smi -q -d CLOCK,POWER || true; nvcc --version || true'
    # Compilers are slower than usual on a machine that has just started; a device that does nothing is found out all the same.
    run preflight machine $((2 * $(planned preflight))) "$python" -P -m fusedstep.benchmarks.device.preflight ${dry:+--dry-run}
    if [ "$code" -ne 0 ]; then
        say machine "nothing else is run: $(tail -n 4 "$out/machine.log" | grep '^preflight failed' ||
            echo "the preflight ended with exit code $code (124: its time was over)")"
        return 1
    fi
    if [ -n "$dry" ]; then
        say machine 'compile: left out, it needs a device'
    else
        run compile machine "$(planned compile)" "$python" -P -m fusedstep.tools.warm_cache
    fi
    tests
    return 0
}

tests() {
    local needed=--require-gpu beside=() module before
    for module in pytest hypothesis; do
        has $module || { say tests "tests: left out, $python has no $module" && failed+=(tests) && return; }
    done
    [ -z "$dry" ] || needed=--collect-only
    # Several processes use several cores, and one that lost its device, or hangs, is replaced by another one.
    [ -n "$dry" ] || ! has xdist || beside=(-n 12 --dist load --maxschedchunk 1)
    ! has pytest_timeout || beside+=(--timeout=90 --timeout-method=thread)
    # Without --resume all begin anew.
    [ -n "$resume" ] || rm -f "$out/tests.txt"
    before=$(mktemp)
    [ ! -e "$out/tests.txt" ] || cp "$out/tests.txt" "$before"
    # Warnings of other versions of other libraries are no reason to lose a result.
    # They end a little before their time, so that what runs then can come to its end.
    FUSEDSTEP_GEMM_CANDIDATES=2 run tests tests "$(left)" "$python" -P -m pytest -q --tb=short -m gpu $needed "${beside[@]}" \
        -W default -p no:cacheprovider -o faulthandler_timeout=60 --durations=15 --junitxml="$out/tests.xml" \
        --results "$out/tests.txt" --unfinished "$before" --until $(($(date +%s) + $(left) - 5)) tests/gpu
    rm -f "$before"
    [ "$code" -ne 5 ] || { say tests 'tests: all of them have passed before' && unset 'failed[-1]'; }
}

bench() { # SECONDS OPTIONS …: what was asked for until the time for it is over
    local seconds=$1
    shift
    run bench bench "$seconds" "$python" -P -m fusedstep bench --device cuda --output "$out" ${dry:+--dry-run} \
        --parts "$(wanted)" --budget $((seconds - $(planned start))) "$@"
}

wanted() { # The parts of the benchmark that are in the plan
    awk '/ s$/ && $1 !~ /^(start|ending|sum)$/ { print $1 }' <<<"$plan" | paste -sd,
}

measure() { # Where a process ends in the middle, up to three others go on with the parts that are left
    local more=3
    bench "$(left)" $resume
    while [ "$code" -ge $ended ] && [ "$(left)" -gt $((2 * $(planned start))) ] && [ $((more--)) -gt 0 ]; do
        keep
        bench "$(left)" --resume
    done
    return 0
}

if ! has fusedstep.tools; then
    # The checkout is the package, so a link of that name will do where it is not installed.
    site=$(mktemp -d) && ln -s "$PWD" "$site/fusedstep" && export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
bring
for call in "${calls[@]}"; do
    case $call in check) limit=${CHECK_S:-330} ;; measure) limit=${MEASURE_S:-240} ;; esac
    SECONDS=0
    plan=$("$python" -P -m fusedstep.benchmarks.device.calls "$call" --limit "$limit" --parts "$parts" 2>&1) ||
        { printf 'no plan of %s: %s\n' "$call" "$plan" >&2 && exit 2; }
    printf '%s\n' "$plan"
    $call
    code=$?
    keep
    printf '\n%s took %d s of %d\n' "$call" "$SECONDS" "$limit"
    [ "$code" -eq 0 ] || break # nothing that comes after a preflight that failed would work
done
[ ${#failed[@]} -eq 0 ] || { printf '\nfailed: %s\n' "${failed[*]}"; exit 1; }
