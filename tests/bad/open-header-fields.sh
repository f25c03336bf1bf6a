#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Header fields with values that make no sense: each is refused by every verb, by name and value.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/bad/bad.bash
. "$TEST_TOP/tests/bad/bad.bash"

make_good good.qcow2

# refuses WIDTH OFFSET VALUE REGEX: with that number in the header.
refuses() {
    cp good.qcow2 bad.qcow2
    "put_be$1" bad.qcow2 "$2" "$3"
    every_verb_refuses "$4" bad.qcow2
    verb_refuses 1 "$4" bad.qcow2 info -f qcow2 bad.qcow2
}

refuses 32 4 4 '[Uu]nsupported qcow2 version 4'
cp good.qcow2 bad.qcow2
put_be64 bad.qcow2 8 512
put_be32 bad.qcow2 16 0xffffffff
every_verb_refuses 'Backing file name too long' bad.qcow2
refuses 32 20 0 'Unsupported cluster size: 2\^0'
refuses 32 20 8 'Unsupported cluster size: 2\^8'
refuses 32 20 22 'Unsupported cluster size: 2\^22'
refuses 32 20 0xffffffff 'Unsupported cluster size: 2\^4294967295'
refuses 64 24 0x7ffffffffffffe00 'Image is too big'
refuses 32 32 3 'Unsupported encryption method 3'
refuses 32 36 0 'L1 table is too small'
refuses 32 36 0x7fffffff 'Active L1 table too large'
refuses 64 40 0x3200 'Active L1 table offset invalid'
refuses 64 48 0x3200 'Reference count table offset invalid'
refuses 32 56 0xffffffff 'Reference count table too large'
refuses 32 60 0xffffffff 'Snapshot table too large'
refuses 64 72 0x8000000000000000 'Unsupported qcow2 feature\(s\).*8000000000000000'
refuses 64 72 8 'Compression type incompatible feature bit'
refuses 32 96 7 'Reference count entry width too large'
refuses 32 96 0xffffffff 'Reference count entry width too large'
refuses 32 100 0 'header too short'
refuses 32 100 103 'header too short'
refuses 32 100 0x1008 'header exceeds cluster size'
refuses 32 100 0xffffffff 'header exceeds cluster size'

# Without a version that is one, a file is only qcow2 if somebody says so.
cp good.qcow2 bad.qcow2
put_be32 bad.qcow2 4 0
every_verb_refuses 'bad.qcow2' bad.qcow2 -f qcow2

# A header extension that would be longer than the header cluster.
cp good.qcow2 bad.qcow2
extension=$(get_be32 good.qcow2 100)
put_be32 bad.qcow2 "$extension" 0x12345678
put_be32 bad.qcow2 $((extension + 4)) 0xffffffff
every_verb_refuses 'Header extension too large' bad.qcow2
