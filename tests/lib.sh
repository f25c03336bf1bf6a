# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What every shell test starts with: `. "$(dirname "$0")/../lib.sh"`.
#
# A test runs in an empty directory of its own, which disappears with it; any command that fails ends the test
# and is reported with its line.  Tests run side by side and share nothing.
#
# Environment: BYRE (the program; default: build/stage/bin/byre), TEST_BUILD (its build directory), TEST_QUICK
# (not empty: take samples), TEST_SAMPLE (0 to 3: which ones), TEST_HURRY (not empty: leave out most of the slow tests).

set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

TEST_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TEST_BUILD=${TEST_BUILD:-$TEST_TOP/build}
BYRE=${BYRE:-$TEST_BUILD/stage/bin/byre}
TEST_QUICK=${TEST_QUICK:-}
TEST_SAMPLE=${TEST_SAMPLE:-$((RANDOM % 4))}
TEST_DIR=$(mktemp -d "${TMPDIR:-/tmp}/byre-test.XXXXXX")

clean_up_commands=()

# clean_up COMMAND...: runs it when the test ends, the last one first.
clean_up() {
    clean_up_commands+=("$(printf '%q ' "$@")")
}

end_test() {
    local code=$? i
    trap - EXIT
    cd /
    for ((i = ${#clean_up_commands[@]} - 1; i >= 0; i--)); do
        eval "${clean_up_commands[i]}" || true
    done
    rm -rf "$TEST_DIR"
    exit "$code"
}

report_failure() {
    local i
    echo "failed: $BASH_COMMAND"
    for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
        echo "    at ${BASH_SOURCE[i]}:${BASH_LINENO[i - 1]}"
    done
}

trap end_test EXIT
trap 'exit 143' INT TERM
trap report_failure ERR
set -E
cd "$TEST_DIR"

# For features that the kernel, or the rights of this user, do not have; nothing else is skipped.
skip() {
    echo "SKIP: $*"
    exit 77
}

# slow: with TEST_HURRY, such a test runs one time in four.
slow() {
    [ -z "${TEST_HURRY:-}" ] || [ $((RANDOM % 4)) = 0 ] || exit 78
}

# fail TEXT...: ends the test.
fail() {
    local i
    trap - ERR
    echo "FAILED: $*${TEST_QUICK:+ (TEST_SAMPLE=$TEST_SAMPLE)}"
    for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
        echo "    at ${BASH_SOURCE[i]}:${BASH_LINENO[i - 1]}"
    done
    exit 1
}

# Is a feature of configure's compiled in?  has ZSTD
has() {
    [ -e "$TEST_BUILD/config.h" ] || fail "$TEST_BUILD is no build directory"
    grep -q "^#define HAVE_$1 1" "$TEST_BUILD/config.h"
}

# sampled: the lines of standard input, with TEST_QUICK every fourth of them, each time others.
sampled() {
    if [ -z "$TEST_QUICK" ]; then
        cat
    else
        echo "TEST_SAMPLE=$TEST_SAMPLE" >&2
        awk -v which="$TEST_SAMPLE" 'NR % 4 == which'
    fi
}

# in_sample: always without TEST_QUICK; with it one call of four.
CALLS=0
in_sample() {
    [ -z "$TEST_QUICK" ] || [ $((CALLS++ % 4)) = "$TEST_SAMPLE" ]
}

# read_text VARIABLE FILE: as $(...) would; a million bytes of it, for a program that finds fault with every cluster is
# not to fill the shell.  It starts no process, and tests run thousands of commands.
read_text() {
    local text
    IFS= read -r -N 1000000 text <"$2" || true
    printf -v "$1" %s "${text%"${text##*[!$'\n']}"}"
}

# A program that hangs is ended, and fails with 124; one that dies of a signal fails with 128 and more.
# Two minutes, here and below: a machine with much else to do stalls for many seconds.
bounded() {
    timeout -k 1 120 "$@"
}

# await COMMAND...: waits until it succeeds; false if it does not in two minutes.
await() {
    local deadline=$((SECONDS + 120)) pause result=0
    exec {pause}<> <(:)
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "this does not come to be: $*"
            result=1
            break
        fi
        read -rt 0.01 -u "$pause" || true
    done
    exec {pause}>&-
    return $result
}

# await_text REGEX FILE: until the file has such a line; there may be none yet.
await_text() {
    await grep -qs -- "$1" "$2" || fail "$2 has no '$1': $(cat "$2")"
}

# await_end PID: until the process has ended; whose child it has become may take its time to look.
await_end() {
    await has_ended "$1"
}
has_ended() {
    ! kill -0 "$1" 2>/dev/null || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}

# run COMMAND...: never fails; leaves the exit code in $CODE, what it wrote in $OUT and $ERR.
run() {
    CODE=0
    "$@" >"$TEST_DIR/.out" 2>"$TEST_DIR/.err" </dev/null || CODE=$?
    read_text OUT "$TEST_DIR/.out"
    read_text ERR "$TEST_DIR/.err"
}

show_run() {
    echo "command: $*"
    printf 'exit code %s\nstandard output: %s\nstandard error: %s\n' "$CODE" "$OUT" "$ERR"
}

# run_ok COMMAND...: it shall succeed and complain of nothing.
run_ok() {
    run "$@"
    if [ "$CODE" != 0 ] || [ -n "$ERR" ]; then
        show_run "$@"
        fail "this was to succeed in silence"
    fi
}

# run_fails CODE REGEX COMMAND...: it shall fail with that exit code, and what it says on standard error shall
# match the extended regular expression.  The complaint is one line, or two where the second is advice.
run_fails() {
    local code=$1 regex=$2
    shift 2
    run "$@"
    if [ "$CODE" != "$code" ] || ! [[ $ERR =~ $regex ]] || [[ $ERR = *$'\n'*$'\n'* ]]; then
        show_run "$@"
        fail "this was to exit with code $code and to say: $regex"
    fi
}

# assert_equal WANTED FOUND [WHAT]
assert_equal() {
    [ "$1" = "$2" ] || fail "${3:-the values differ}: wanted '$1', found '$2'"
}

# assert_match REGEX TEXT
assert_match() {
    [[ $2 =~ $1 ]] || fail "'$2' does not match '$1'"
}

# assert_at_most LIMIT NUMBER [WHAT]
assert_at_most() {
    [ "$2" -le "$1" ] || fail "${3:-too much}: $2 is more than $1"
}

assert_missing() {
    [ ! -e "$1" ] || fail "$1 is there"
}

assert_same_file() {
    cmp "$1" "$2" || fail "$1 and $2 differ"
}

# qemu_io OPTION... IMAGE: qemu-io with quiet commands ("write -q ..."); anything it says is a failure.
qemu_io() {
    local output
    output=$(qemu-io "$@" 2>&1) || true
    [ -z "$output" ] || fail "qemu-io $*: $output"
}

# qemu_encrypts ARGUMENT...: qemu-img, for what makes keys: it measures the machine then, and finds now and then that it
# cannot ("Unable to get accurate CPU usage"), which says nothing of byre.
qemu_encrypts() {
    local try
    for ((try = 0; try < 50; try++)); do
        if qemu-img "$@" 2>"$TEST_DIR/.encrypts"; then
            return 0
        fi
        grep -q 'Unable to get accurate CPU usage' "$TEST_DIR/.encrypts" || break
    done
    cat "$TEST_DIR/.encrypts" >&2
    return 1
}

# assert_clean IMAGE: qemu-img check finds neither errors nor leaks.
assert_clean() {
    local code=0
    qemu-img check -f qcow2 "$1" >"$TEST_DIR/.check" 2>&1 || code=$?
    if [ "$code" != 0 ]; then
        cat "$TEST_DIR/.check"
        fail "qemu-img check exits with $code for $1"
    fi
}

# assert_checked IMAGE: byre check finds nothing.
assert_checked() {
    run "$BYRE" check -q -f qcow2 "$1"
    [ "$CODE" = 0 ] || fail "byre check exits with $CODE for $1: $OUT$ERR"
}

# assert_same_disk [OPTION...] A B: qemu-img compare finds the same contents.
assert_same_disk() {
    local code=0
    qemu-img compare "$@" >"$TEST_DIR/.compare" 2>&1 || code=$?
    if [ "$code" != 0 ]; then
        cat "$TEST_DIR/.compare"
        fail "qemu-img compare exits with $code for $*"
    fi
}

file_size() {
    stat -c %s "$1"
}

# Bytes of a file, for making bad images.  Numbers in any notation of bash's arithmetic; offsets in bytes.

# put_bytes FILE OFFSET HEX: overwrites; "00ff" is two bytes.
put_bytes() {
    local escaped
    # shellcheck disable=SC2001 # no, not without a loop
    escaped=$(sed 's/../\\x&/g' <<<"$3")
    printf '%b' "$escaped" | dd of="$1" bs=4096 oflag=seek_bytes seek="$(($2))" conv=notrunc status=none
}

put_be16() { put_bytes "$1" "$2" "$(printf '%04x' "$(($3))")"; }
put_be32() { put_bytes "$1" "$2" "$(printf '%08x' "$(($3))")"; }
put_be64() { put_bytes "$1" "$2" "$(printf '%016x' "$(($3))")"; }

# get_hex FILE OFFSET LENGTH: the bytes as hex digits.
get_hex() {
    od -An -v -tx1 -j "$(($2))" -N "$3" "$1" | tr -d ' \n'
}

get_be32() { echo $((0x$(get_hex "$1" "$2" 4))); }
get_be64() { echo $((0x$(get_hex "$1" "$2" 8))); }

# Contents.  The same arguments give the same bytes, everywhere.

# noise SEED BYTES: bytes that do not compress.
noise() {
    awk -v seed="$1" -v bytes="$2" 'BEGIN {
        x = (seed * 7919 + 12345) % 2147483647
        if (x == 0) x = 1
        for (i = 0; i < bytes; i++) {
            x = (x * 16807) % 2147483647
            printf "%c", int(x / 8388608) == 0 ? 1 : int(x / 8388608)
        }
    }'
}

# text SEED BYTES: bytes that compress well.
text() {
    seq "$1" 100000000 | head -c "$2" || true
}

# put_file FILE OFFSET: overwrites with standard input; the offset may be 64K or 1M, too.
put_file() {
    dd of="$1" bs=64K oflag=seek_bytes seek="$(numfmt --from=iec "$2")" conv=notrunc status=none iflag=fullblock
}
