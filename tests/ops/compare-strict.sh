#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# compare -s minds allocation: which clusters are there, not where they are.
. "$(dirname "$0")/../lib.sh"

# image NAME COMMAND...: a new image of 64 MiB, written to by qemu-io.
image() {
    local name=$1 command
    shift
    qemu-img create -q -f qcow2 "$name" 64M
    for command in "$@"; do
        qemu-io -c "$command" "$name" >qemu-io.out
    done
}

both() {
    run qemu-img compare -s "$@"
    local code=$CODE out=$OUT
    run "$BYRE" compare -s "$@"
    assert_equal "$code" "$CODE" "exit code of compare -s $*"
    assert_equal "$out" "$OUT" "output of compare -s $*"
}

image a 'write -P 0 128k 64k' 'write -P 0 1M 64k'
image b 'write -P 0 128k 128k' 'write -P 0 1M 64k'
both a b
image a 'write -P 0 1M 64k'
both a b
image a 'write -P 1 128k 64k' 'write -P 1 256k 64k'
image b 'write -P 1 256k 64k' 'write -P 1 128k 64k'
both a b # the same clusters in other places
image b 'write -P 1 256k 64k' 'write -P 2 128k 64k'
both a b # contents come first here
image a 'write -z 128k 64k'
image b 'write -P 0 128k 64k' 'write -z 128k 64k'
both a b # a zero cluster with and without room on the host
image a 'write -P 0 128k 64k'
image b 'write -P 0 128k 64k' 'write -z 1M 64k'
run_fails 1 '' "$BYRE" compare -s a b
assert_equal 'Strict mode: Offset 1048576 block status mismatch!' "$OUT"
run_ok "$BYRE" compare a b
assert_equal 'Images are identical.' "$OUT"
