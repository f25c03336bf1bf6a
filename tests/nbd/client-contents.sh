#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks over NBD are read, written, mapped, compared and converted like files, whoever serves them.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/client.bash"

# make_disk FILE: 16 MiB with data at both ends and in the middle, and holes.
make_disk() {
    truncate -s 16M "$1"
    noise 1 300000 | put_file "$1" 0
    noise 2 200000 | put_file "$1" 5M
    noise 3 65536 | put_file "$1" 16711680
}

# through NAME FILE: all verbs on the export of FILE.
through() {
    local disk file=$2
    disk=$(uri "$1" "$3")
    run_ok "$BYRE" info "$disk"
    assert_match "^image: nbd\+unix://.*socket=$PWD/$1.sock"$'\nfile format: raw\nvirtual size: 16 MiB' "$OUT"

    # what is mapped is what is there
    run_ok "$BYRE" map -f raw --output=json "$disk"
    assert_equal "$(qemu-img map -f raw --output=json "$disk")" "$OUT" "the map"
    assert_match '"zero": true, "data": false' "$OUT"

    # out of it, and compared with it
    run_ok "$BYRE" convert -f raw -O qcow2 "$disk" out.qcow2
    assert_same_disk -f raw -F qcow2 "$file" out.qcow2
    assert_clean out.qcow2
    run_ok "$BYRE" compare -f raw -F qcow2 "$disk" out.qcow2
    run_ok "$BYRE" compare -U -f raw -F raw "$file" "$disk"

    # changes, aligned and not
    run_ok "$BYRE" io -d unmap -f raw -c 'write -q -P 1 12345 70001' -c 'write -q -z 5M 100000' -c 'write -q -z -u 6M 1M' \
        -c 'discard -q 128K 64K' -c 'flush' -c 'read -q -P 1 12345 70001' -c 'read -q -P 0 5M 100000' "$disk"
    qemu_io -f raw -r -c 'read -q -P 1 12345 50000' -c 'read -q -P 0 5M 100000' "$file"
    run "$BYRE" compare -f raw -F qcow2 "$disk" out.qcow2
    assert_equal 1 "$CODE" 'comparing with what it was'

    # into it: what was there does not shine through
    run_ok "$BYRE" convert -n -f qcow2 -O raw out.qcow2 "$disk"
    assert_same_disk -f raw -F qcow2 "$file" out.qcow2
    run_ok "$BYRE" convert -n -U -f raw -O raw -W "$file" "$disk"
    assert_same_disk -f raw -F qcow2 "$file" out.qcow2
}

make_disk qemu.raw
serve_qemu qemu -x an/export -e 8 -f raw --discard=unmap qemu.raw
through qemu qemu.raw an/export
make_disk one.raw
serve_qemu one -f raw --discard=unmap one.raw
through one one.raw ''
make_disk nbdkit.raw
serve_nbdkit nbdkit file nbdkit.raw
through nbdkit nbdkit.raw any
# without structured replies there is no map: all is data
make_disk plain.raw
serve_nbdkit plain --no-sr file plain.raw
run_ok "$BYRE" map --output=json -f raw "$(uri plain)"
assert_equal '[{ "start": 0, "length": 16777216, "depth": 0, "present": true, "zero": false, "data": true, "offset": 0}]' \
    "$OUT" 'a map without block status'
run_ok "$BYRE" compare -f raw -F raw -U "$(uri plain)" plain.raw

# reads past the end of an export give zeros, where its size is no multiple of a sector
head -c 1000 qemu.raw >odd.raw
serve_nbdkit odd file odd.raw
run_ok "$BYRE" convert -f raw -O raw "$(uri odd)" odd-copy.raw
cmp -n 1000 odd.raw odd-copy.raw
end_server odd

# an image in an exported file
"$BYRE" create -q -f qcow2 image.qcow2 64M
truncate -s 80M image.qcow2
serve_qemu image -f raw -e 4 image.qcow2
run_ok "$BYRE" info "$(uri image)"
assert_match $'file format: qcow2\nvirtual size: 64 MiB' "$OUT"
run_ok "$BYRE" io -c 'write -q -P 7 1M 3M' -c 'write -q -P 8 100 1000' -c 'discard -q 2M 1M' "$(uri image)"
run_ok "$BYRE" check -q "$(uri image)"
run_ok "$BYRE" convert -n -U -f raw -O qcow2 qemu.raw "$(uri image)"
end_server image
assert_clean image.qcow2
run_ok "$BYRE" io -r -c 'read -q -P 0 16M 1M' image.qcow2
qemu_io -r -f qcow2 -c 'read -q -P 0 16M 1M' image.qcow2

# the names of old, and options
for name in "nbd:unix:$PWD/qemu.sock:exportname=an/export" "nbd+unix:///an%2fexport?socket=$PWD/qemu.sock" \
    "json:{'driver': 'raw', 'file': {'driver': 'nbd', 'path': '$PWD/qemu.sock', 'export': 'an/export'}}"; do
    run_ok "$BYRE" compare -f raw -F raw -U "$name" qemu.raw
    run_ok "$BYRE" info -f raw "$name"
    assert_equal "image: $(uri qemu an/export)" "${OUT%%$'\n'*}" 'how it is called'
    assert_equal "$(qemu-img info -f raw "$name" | head -n 1)" "${OUT%%$'\n'*}" 'as qemu-img calls it'
done
run_ok "$BYRE" info --image-opts "driver=raw,size=1M,file.driver=nbd,file.server.type=unix,file.server.path=qemu.sock,\
file.export=an/export"
assert_match 'virtual size: 1 MiB' "$OUT"
run_ok "$BYRE" io --image-opts -r -c 'read -q 0 16M' \
    "driver=blkdebug,image.driver=nbd,image.path=qemu.sock,image.export=an/export"
