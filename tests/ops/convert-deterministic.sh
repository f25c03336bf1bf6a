#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The bytes of a new image do not depend on the number of threads.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/ops/source.bash
. "$TEST_TOP/tests/ops/source.bash"

check_layout() {
    local threads
    run_ok "$BYRE" convert -m 1 -f raw -O qcow2 "$@" source.raw one.qcow2
    assert_clean one.qcow2
    assert_same_disk -f raw -F qcow2 source.raw one.qcow2
    for threads in 2 4 8; do
        run_ok "$BYRE" convert -m $threads -f raw -O qcow2 "$@" source.raw many.qcow2
        assert_same_file one.qcow2 many.qcow2
    done
    run_ok "$BYRE" convert -f raw -O qcow2 "$@" source.raw many.qcow2
    assert_same_file one.qcow2 many.qcow2
}

make_source source.raw
check_layout
check_layout -c
check_layout -o cluster_size=4k
check_layout -o cluster_size=2M
check_layout -o compat=0.10,cluster_size=4k -c
check_layout -c -o cluster_size=2M
check_layout -S 0 -o cluster_size=1M
if has ZSTD; then
    check_layout -c -o compression_type=zstd
fi
if [ -z "$TEST_QUICK" ]; then
    check_layout -o cluster_size=512
    check_layout -c -o cluster_size=512
    check_layout -o cluster_size=512,refcount_bits=64
    check_layout -c -o refcount_bits=1
fi

# Out of order the layout may vary, and nothing else.
run_ok "$BYRE" convert -W -m 8 -f raw -O qcow2 -c source.raw many.qcow2
assert_clean many.qcow2
assert_same_disk -f raw -F qcow2 source.raw many.qcow2
