# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Shared by the benchmarks: finding the programs, running two commands in turn, medians and ratios.
#
# Environment: BYRE (the program; default: the one built in this tree, else the one in PATH), QEMU_IMG,
# RUNS (measured runs of each command, default 7), BENCH_DIR (for scratch files, default $TMPDIR or /var/tmp).

set -euo pipefail

QEMU_IMG=${QEMU_IMG:-qemu-img}
RUNS=${RUNS:-7}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The program itself, not the script that libtool puts in front of it: that would be timed as well.
find_byre() {
    local top
    top=$(cd "$(dirname "$0")/.." && pwd)
    if [ -z "${BYRE:-}" ]; then
        BYRE=$(command -v "$PWD/byre" || command -v "$top/byre" || command -v byre) ||
            fail "no byre found: build it, or name it in BYRE"
    fi
    local dir=${BYRE%/*}
    if [ -x "$dir/.libs/${BYRE##*/}" ]; then
        export LD_LIBRARY_PATH=$dir/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        BYRE=$dir/.libs/${BYRE##*/}
    fi
}

make_scratch() {
    SCRATCH=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/var/tmp}}/byre-bench.XXXXXX")
    trap 'rm -rf "$SCRATCH"' EXIT
}

print_versions() {
    echo "# $(date -u +%Y-%m-%d), $(nproc) processors, $(uname -sr)"
    echo "# $("$BYRE" --version | head -n 1); $("$QEMU_IMG" --version | head -n 1)"
}

# stdin: numbers, one a line; prints "median min max".
statistics() {
    sort -g | awk '{ v[NR] = $1 }
        END { m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; print m, v[1], v[NR] }'
}

# run_once TIMES RSS COMMAND...: appends the seconds and the kilobytes to the two files.  With TIMED_BY=itself the
# seconds are those that the command says its run took, and those of its warm-up go to TIMES.cold; else they are what
# the whole command took.
run_once() {
    local times=$1 rss=$2 start end
    shift 2
    start=$EPOCHREALTIME
    /usr/bin/time -f %M -o "$SCRATCH/rss" "$@" >"$SCRATCH/output" 2>&1 ||
        { cat "$SCRATCH/output" >&2; fail "failed: $*"; }
    end=$EPOCHREALTIME
    if [ "${TIMED_BY:-}" = itself ]; then
        sed -n 's/^Run completed in \(.*\) seconds\.$/\1/p' "$SCRATCH/output" >>"$times"
        sed -n 's/^Warm-up completed in \(.*\) seconds\.$/\1/p' "$SCRATCH/output" >>"$times.cold"
    else
        awk -v a="$start" -v b="$end" 'BEGIN { printf "%.4f\n", b - a }' >>"$times"
    fi
    tail -n 1 "$SCRATCH/rss" >>"$rss"
}

# compare_runs PREPARE A B: the commands of the arrays named A and B in turn, RUNS times after one warm-up of
# each; PREPARE (a function, or ":") runs before every run, untimed, and is told which: a or b.  Results: {a,b}.{times,rss}.
compare_runs() {
    local prepare=$1 i
    local -n command_a=$2 command_b=$3
    rm -f "$SCRATCH"/[ab].times* "$SCRATCH"/[ab].rss
    for ((i = 0; i <= RUNS; i++)); do
        "$prepare" a
        run_once "$SCRATCH/a.times" "$SCRATCH/a.rss" "${command_a[@]}"
        "$prepare" b
        run_once "$SCRATCH/b.times" "$SCRATCH/b.rss" "${command_b[@]}"
        if [ "$i" = 0 ]; then
            rm -f "$SCRATCH"/[ab].times*
        fi
    done
}

# report NAME: one line from the last compare_runs; a is byre, b is qemu-img.
report() {
    local a_median a_min a_max b_median b_min b_max
    read -r a_median a_min a_max < <(statistics <"$SCRATCH/a.times")
    read -r b_median b_min b_max < <(statistics <"$SCRATCH/b.times")
    awk -v name="$1" -v a="$a_median" -v a0="$a_min" -v a1="$a_max" -v b="$b_median" -v b0="$b_min" \
        -v b1="$b_max" -v ra="$(sort -g "$SCRATCH/a.rss" | tail -n 1)" \
        -v rb="$(sort -g "$SCRATCH/b.rss" | tail -n 1)" 'BEGIN {
        printf "%-22s %7.3f (%.3f-%.3f)  %7.3f (%.3f-%.3f)  %6.2fx  %5.0f  %5.0f\n", name, a, a0, a1,
            b, b0, b1, b / a, ra / 1024, rb / 1024 }'
}

report_header() {
    printf '%-22s %-22s %-22s %7s  %5s  %5s\n' '# case' 'byre s (min-max)' 'qemu-img s (min-max)' 'faster' \
        'MiB' 'MiB'
}
