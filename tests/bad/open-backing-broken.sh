#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Chains that do not hold: a backing file that is missing, of the wrong format, broken itself, or the overlay
# once more.  `info` and `check` look at the named file alone and have nothing against it.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/bad/bad.bash
. "$TEST_TOP/tests/bad/bad.bash"

make_good good.qcow2

# chain_refused REGEX IMAGE: by the verbs that follow the chain.
chain_refused() {
    verb_refuses 1 "$1" "$2" map "$2"
    verb_refuses 1 "$1" "$2" convert -O raw "$2" out.raw
    assert_missing out.raw
    verb_refuses 1 "$1" "$2" convert -O qcow2 "$2" out.qcow2
    assert_missing out.qcow2
    verb_refuses 2 "$1" "$2" compare "$2" good.raw
    run_ok bounded "$BYRE" info "$2"
    run_ok bounded "$BYRE" check "$2"
}

cp good.qcow2 base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
rm base.qcow2
chain_refused "Could not open backing file: Could not open '?base.qcow2.*No such file" top.qcow2
verb_refuses 1 'base.qcow2.*No such file' base.qcow2 info --backing-chain top.qcow2

# relative to the image that names it, not to where we stand
mkdir elsewhere
cp good.qcow2 elsewhere/base.qcow2
(cd elsewhere && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2)
run_ok "$BYRE" compare -q elsewhere/top.qcow2 good.raw
rm elsewhere/base.qcow2
cp good.qcow2 base.qcow2
chain_refused "elsewhere/base.qcow2.*No such file" elsewhere/top.qcow2

# the recorded format is believed, not probed
cp good.raw base.qcow2
chain_refused 'not in qcow2 format' top.qcow2

# broken at the bottom of three
cp good.qcow2 base.qcow2
qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 third.qcow2
put_be32 base.qcow2 20 33
chain_refused 'base.qcow2.*Unsupported cluster size: 2\^33' third.qcow2

mkdir directory
qemu-img create -q -f qcow2 -u -b directory -F qcow2 on-directory.qcow2 1M
chain_refused "directory.*(a regular file|Is a directory)" on-directory.qcow2

# loops: of one, of two
qemu-img create -q -f qcow2 self.qcow2 1M
qemu-img rebase -u -F qcow2 -b self.qcow2 self.qcow2
chain_refused '[Ll]oop' self.qcow2
qemu-img create -q -f qcow2 -u -b loop-b.qcow2 -F qcow2 loop-a.qcow2 1M
qemu-img create -q -f qcow2 -u -b loop-a.qcow2 -F qcow2 loop-b.qcow2 1M
chain_refused '[Ll]oop' loop-a.qcow2
verb_refuses 1 '[Ll]oop' loop-a.qcow2 info --backing-chain loop-a.qcow2
