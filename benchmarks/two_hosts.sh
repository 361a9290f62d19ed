#!/usr/bin/env bash
# Runs a command with one MPI process on each of two hosts that this machine pretends to be: network namespaces with host names,
# addresses and CPUs of their own, joined by a virtual link of limited bandwidth and with a delay.
#
#     bash benchmarks/two_hosts.sh [--rate 1gbit] [--delay 1] [--ahead] COMMAND …
#
# --rate is that of each direction, in the words of tc-tbf; --delay is in milliseconds from one host to the other, so that an
# answer takes twice as long. --ahead lets the processes go before other programs of this machine, which would keep one host waiting
# for the other. host-a gets the first half of the CPUs, host-b the second. It needs root, Linux, iproute2 and Open
# MPI, whose launcher enters a namespace here instead of calling ssh. MPIEXEC names another mpiexec than the one in PATH, and
# PYTHON the interpreter of the relay. What was made is removed at the end; $TWO_HOSTS is the prefix of the names of the namespaces.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" = --enter ]; then # as ssh: HOST COMMAND …
    host=$2 && shift 2
    first=0 half=$((($(nproc --all) + 1) / 2)) last=$(($(nproc --all) - 1))
    case $host in
    host-a) last=$((half - 1)) ;;
    *) first=$((half > last ? last : half)) ;;
    esac
    exec taskset -c "$first-$last" ip netns exec "$TWO_HOSTS-$host" unshare --uts sh -c 'hostname "$0"; eval "exec $1"' "$host" "$*"
fi
if [ "${1:-}" = --agent ]; then # as ssh, whose command is one of a shell
    host=$2 && shift 2
    exec bash "$0" --enter "$host" "bash -c $(printf %q "$*")"
fi
if [ "${1:-}" = --in-front ]; then # COMMAND …
    shift
    [ ! -e /proc/self/autogroup ] || echo -15 >/proc/self/autogroup
    exec nice -n -15 "$@"
fi

rate=1gbit delay=0 ahead=()
while [ $# -gt 0 ]; do
    case $1 in
    --rate) rate=$2 && shift 2 ;;
    --delay) delay=$2 && shift 2 ;;
    --ahead) ahead=(bash "$here/two_hosts.sh" --in-front) && shift ;;
    -*) printf 'expected --rate, --delay, --ahead or a command; got %s\n' "$1" >&2 && exit 2 ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || { printf 'expected a command, such as python -m fusedstep.benchmarks.communication\n' >&2 && exit 2; }
[ "$(id -u)" = 0 ] || { printf 'expected root, who alone may make network namespaces\n' >&2 && exit 2; }

export TWO_HOSTS=${TWO_HOSTS:-fusedstep-$$}
a=$TWO_HOSTS-host-a b=$TWO_HOSTS-host-b relay=
end() {
    [ -z "$relay" ] || { kill "$relay" && wait "$relay"; } 2>/dev/null || true
    for host in "$a" "$b"; do
        # What is still in these namespaces was started here.
        ip netns pids "$host" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns del "$host" 2>/dev/null || true
        rm -rf "/etc/netns/$host"
    done
}
trap end EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

for host in "$a" "$b"; do
    ip netns add "$host"
    ip -n "$host" link set lo up
    mkdir -p "/etc/netns/$host"
    printf '127.0.0.1 localhost\n10.77.0.1 host-a\n10.77.0.2 host-b\n' >"/etc/netns/$host/hosts"
done
if [ "$delay" = 0 ]; then
    ip link add link0 netns "$a" type veth peer name link0 netns "$b"
else
    "${PYTHON:-python3}" -P "$here/delayed_link.py" "$delay" "/run/netns/$a" "/run/netns/$b" &
    relay=$!
    for _ in $(seq 100); do
        ip -n "$b" link show link0 >/dev/null 2>&1 && break
        kill -0 "$relay" && sleep 0.05
    done
fi
number=1
for host in "$a" "$b"; do
    ip -n "$host" addr add "10.77.0.$number/24" dev link0
    ip -n "$host" link set link0 up
    # A burst that holds one segment of 64 KB, which the kernel need not cut then.
    tc -n "$host" qdisc add dev link0 root tbf rate "$rate" burst 68k latency 100ms
    number=2
done

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
agent=$(mktemp)
printf '#!/bin/sh\nexec bash %q --agent "$@"\n' "$here/two_hosts.sh" >"$agent" && chmod +x "$agent"
trap 'end; rm -f "$agent"' EXIT
status=0
bash "$0" --enter host-a "$(printf '%q ' "${MPIEXEC:-mpiexec}" --host host-a:1,host-b:1 -n 2 --map-by node --bind-to none \
    --prtemca plm_ssh_agent "$agent" --mca pml ob1 --mca btl tcp,self "${ahead[@]}" "$@")" || status=$?
exit "$status"
