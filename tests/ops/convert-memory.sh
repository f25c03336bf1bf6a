#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Converting takes less than 128 MiB of memory, however large the disk is and however many threads work.
. "$(dirname "$0")/../lib.sh"

[ -x /usr/bin/time ] || fail '/usr/bin/time is missing'

limit=131072
[ -z "${ASAN_OPTIONS:-}" ] || limit=$((4 * limit)) # the sanitizers keep books about each byte

# measure COMMAND...: it succeeds, and its resident size stays below 128 MiB.
measure() {
    /usr/bin/time -f %M -o rss "$@" || fail "failed: $*"
    assert_at_most $limit "$(tail -n 1 rss)" "KiB resident of: $*"
}

truncate -s 1T huge.raw
text 1 3000000 | put_file huge.raw 0
text 2 3000000 | put_file huge.raw $((512 << 30))
noise 3 100000 | put_file huge.raw $(((1 << 40) - 100000))
measure "$BYRE" convert -m 16 -f raw -O qcow2 huge.raw huge.qcow2
assert_clean huge.qcow2
measure "$BYRE" convert -m 16 -O qcow2 -c huge.qcow2 small.qcow2
measure "$BYRE" convert -m 16 -O raw small.qcow2 back.raw
cmp -n 4000000 huge.raw back.raw
cmp -n 4000000 -i $((512 << 30)) huge.raw back.raw
cmp -i $(((1 << 40) - 200000)) huge.raw back.raw

# Much data in large clusters, with as many threads as anyone may ask for.
for i in 1 2 3 4; do text $i 30000000; done >data.raw
measure "$BYRE" convert -m 16 -f raw -O qcow2 -c -o cluster_size=2M data.raw data.qcow2
measure "$BYRE" convert -m 16 -O qcow2 data.qcow2 plain.qcow2
measure "$BYRE" compare data.qcow2 plain.qcow2 >compare.out
