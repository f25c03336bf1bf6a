# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What the tests of this directory copy.

# make_source FILE: a raw disk of 12 MiB and a bit with text, noise, zeros on the medium, and holes, at easy
# and at awkward places.
make_source() {
    truncate -s $((12 * 1048576 + 1536)) "$1"
    text 1 3000000 | put_file "$1" 0
    noise 2 700000 | put_file "$1" $((3 * 1048576 + 5000))
    head -c 2200000 /dev/zero | put_file "$1" $((4 * 1048576 + 4096))
    text 5 512 | put_file "$1" $((5 * 1048576 + 65024))
    text 6 1 | put_file "$1" $((8 * 1048576 + 100001))
    noise 7 70000 | put_file "$1" $((9 * 1048576 - 35000))
    for i in 0 1 2 3 4 5 6 7; do
        text $((i + 10)) 4096 | put_file "$1" $((10 * 1048576 + i * 12288))
    done
    text 9 1000 | put_file "$1" $((12 * 1048576 + 536))
}

# data_map OPTION... IMAGE: what is data according to qemu-img, one "start length" a line, neighbours joined.
data_map() {
    qemu-img map --output=json "$@" |
        sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"data": true.*/\1 \2/p' |
        awk 'NR > 1 && $1 == start + length_ { length_ += $2; next }
            NR > 1 { print start, length_ }
            { start = $1; length_ = $2 }
            END { if (NR) print start, length_ }'
}
