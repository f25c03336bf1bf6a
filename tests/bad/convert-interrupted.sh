#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A convert that is killed leaves nothing that looks like an image: the magic comes last.
. "$(dirname "$0")/../lib.sh"

# Large enough to be still at it when the signal comes.
text 1 40000000 >source.raw

# killed_at_size BYTES SIGNAL: as soon as the target has that size, or its magic.
killed_at_size() {
    local pid
    rm -f x.qcow2
    "$BYRE" convert -q -m 1 -c -f raw -O qcow2 -o cluster_size=4k source.raw x.qcow2 2>/dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null && [ "$(stat -c %s x.qcow2 2>/dev/null || echo 0)" -lt "$1" ]; do
        :
    done
    if kill -"$2" "$pid" 2>/dev/null; then
        killed=$((killed + 1))
    fi
    wait "$pid" || true
    if [ -s x.qcow2 ] && [ "$(get_hex x.qcow2 0 4)" = 514649fb ]; then
        # it was through before the signal came
        assert_clean x.qcow2
        assert_same_disk -f raw -F qcow2 source.raw x.qcow2
        whole=$((whole + 1))
    fi
}

killed=0 whole=0
for size in 1 100000 1000000; do
    killed_at_size $size KILL
    killed_at_size $size TERM
done
echo "$killed signals, $whole images were finished by then"
[ "$whole" -lt 6 ] || fail 'no convert was interrupted: the source is too small'
