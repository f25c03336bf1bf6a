#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Features that byre does not have are recognised and refused by name; `info` still tells what there is.
. "$(dirname "$0")/../lib.sh"

# refused REGEX IMAGE: by every verb that needs the contents; nothing is left behind.
refused() {
    run_fails 1 "$1" "$BYRE" convert -O raw "$2" out.raw
    assert_missing out.raw
    run_fails 1 "$1" "$BYRE" map "$2"
    run_fails 2 "$1" "$BYRE" compare "$2" "$2"
    run_ok "$BYRE" info "$2"
}

qemu_encrypts create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
    luks.qcow2 1M
refused '[Ee]ncrypt|LUKS|luks' luks.qcow2
qemu-img create -q -f qcow2 plain.qcow2 1M

# a name from the feature table is used for a bit that nobody knows: "dirty bit" is the first entry there
offset=$(grep -abo 'dirty bit' plain.qcow2 | head -n 1 | cut -d : -f 1)
put_bytes plain.qcow2 $((offset - 2)) 003f
put_bytes plain.qcow2 72 80
run_fails 1 'Unsupported qcow2 feature\(s\): dirty bit' "$BYRE" map plain.qcow2
run_fails 1 'Unsupported qcow2 feature\(s\): dirty bit' "$BYRE" info plain.qcow2

if ! has ZSTD; then
    qemu-img create -q -f qcow2 -o compression_type=zstd zstd.qcow2 1M
    refused zstd zstd.qcow2
    run_fails 1 zstd "$BYRE" create -q -f qcow2 -o compression_type=zstd new.qcow2 1M
    assert_missing new.qcow2
fi
