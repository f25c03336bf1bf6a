#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Options whose effect shows neither in the image nor in the report: cache modes, sharing, threads, silence; and
# what preallocation takes on the medium.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/hold.bash"

# Files in /proc know no O_DIRECT, which "none" asks for, and cannot be flushed, which only "unsafe" does not try.
[ -r /proc/version ] || skip 'no /proc'
: >empty.raw
for mode in none off directsync; do
    run_fails 2 'filesystem does not support O_DIRECT$' \
        "$BYRE" compare -f raw -F raw -T $mode /proc/version empty.raw
    run_fails 2 'filesystem does not support O_DIRECT$' \
        "$BYRE" compare -f raw -F raw -T $mode empty.raw /proc/version
    run_fails 1 'filesystem does not support O_DIRECT$' "$BYRE" convert -f raw -T $mode /proc/version x
    assert_missing x
done
for mode in writeback writethrough unsafe; do
    run_ok "$BYRE" compare -f raw -F raw -T $mode /proc/version empty.raw
    run_ok "$BYRE" convert -f raw -T $mode /proc/version x
    rm x
done
run_fails 1 'filesystem does not support O_DIRECT$' "$BYRE" convert -n -f raw -t none empty.raw /proc/self/oom_score_adj
run_fails 1 'could not flush .*Invalid argument$' \
    "$BYRE" convert -n -f raw -t writeback empty.raw /proc/self/oom_score_adj
run_ok "$BYRE" convert -n -f raw -t unsafe empty.raw /proc/self/oom_score_adj
run_ok "$BYRE" convert -n -f raw empty.raw /proc/self/oom_score_adj # unsafe is the default

# While somebody writes to an image, it is read with -U only.
qemu-img create -q -f qcow2 image.qcow2 4M
hold -f qcow2 image.qcow2
for words in 'info' 'check' 'map' 'snapshot -l' 'compare empty.raw' 'convert -O raw'; do
    code=1
    [[ $words != compare* ]] || code=2
    target=
    [[ $words != convert* ]] || target=y
    # shellcheck disable=SC2086 # several words, or none
    run_fails $code 'Failed to get .* lock' "$BYRE" $words image.qcow2 $target
    for option in -U --force-share; do
        # shellcheck disable=SC2086
        run_ok "$BYRE" $words $option image.qcow2 $target
    done
done
release

# -m: as many threads work at the same time
text 1 50000000 >large.raw
most_threads() {
    local pid most=0 now
    "$BYRE" convert "$@" -q -c -f raw -O qcow2 large.raw z.qcow2 &
    pid=$!
    while now=$(sed -n 's/^Threads:[^0-9]*//p' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
        [ "$now" -le "$most" ] || most=$now
    done
    wait "$pid"
    echo "$most"
}
one=$(most_threads -m 1)
for ((tries = 0; tries < 20; tries++)); do # it may be over before anybody has counted
    many=$(most_threads -m 12)
    [ "$many" -lt $((one + 10)) ] || break
done
[ "$many" -ge $((one + 10)) ] || fail "-m 1 has $one threads at most, -m 12 has $many"

# -q: no warnings
qemu-img create -q -f qcow2 -o cluster_size=1k bad.qcow2 384k
qemu-io -c 'write -q -P 7 0 384k' bad.qcow2
put_be64 bad.qcow2 $(($(get_be64 bad.qcow2 40) + 8)) 0x8000000012345200
run "$BYRE" convert --salvage -O raw bad.qcow2 y
assert_match 'warning: ' "$ERR"
run_ok "$BYRE" convert --salvage -q -O raw bad.qcow2 y

# preallocation: what is taken on the medium (a file system may take a little more)
blocks() {
    stat -c %b "$1"
}
for mode in off falloc full; do
    run_ok "$BYRE" create -q -f raw -o preallocation=$mode $mode.raw 4M
    run_ok "$BYRE" create -q -f qcow2 -o preallocation=$mode $mode.qcow2 4M
    run_ok "$BYRE" convert -O qcow2 -o preallocation=$mode off.raw converted-$mode.qcow2
done
assert_at_most 64 "$(blocks off.raw)" 'blocks without preallocation'
for mode in falloc full; do
    for file in $mode.raw $mode.qcow2 converted-$mode.qcow2; do
        assert_at_most "$(blocks "$file")" 8192 "blocks of $file"
    done
done
run_ok "$BYRE" create -q -f qcow2 -o preallocation=metadata metadata.qcow2 4M
assert_at_most 2048 "$(blocks metadata.qcow2)" 'blocks with metadata only'
assert_match '"data": true, "offset"' "$(qemu-img map --output=json metadata.qcow2)"
