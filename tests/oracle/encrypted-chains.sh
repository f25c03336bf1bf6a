#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Encrypted qcow2 images in chains, written to by turns by byre and qemu-io; cluster sizes and versions; preallocation;
# AES of old; LUKS files below and above; and that plain text is nowhere in the file.  With TEST_QUICK one cluster size.
. "$(dirname "$0")/../lib.sh"

secret=(--object 'secret,id=s,data=s3cret' --object 'secret,id=t,data=other')
luks=encrypt.format=luks,encrypt.iter-time=1

# holds NAME... : the disk reads the same in byre and qemu-img, and is free of errors.
holds() {
    run_ok qemu-img check "${secret[@]}" --image-opts "$1"
    run_ok "$BYRE" check "${secret[@]}" --image-opts "${1%%,backing.*}"
    rm -f a.raw b.raw
    run_ok qemu-img convert "${secret[@]}" --image-opts "$1" -O raw a.raw
    run_ok "$BYRE" convert "${secret[@]}" --image-opts "$1" -O raw b.raw
    assert_same_file a.raw b.raw
}

for kind in cluster_size=512,compat=v2 cluster_size=4k cluster_size=64k,lazy_refcounts=on cluster_size=2M; do
    in_sample || continue
    rm -f ./*.qcow2
    { echo 'THE PLAIN TEXT OF THE DISK' && text 3 2000000; } >base.raw
    truncate -s 3M base.raw
    run_ok "$BYRE" convert "${secret[@]}" -f raw -O qcow2 -o "$luks,encrypt.key-secret=s,$kind" base.raw base.qcow2
    base=driver=qcow2,encrypt.key-secret=s,file.filename=base.qcow2
    holds $base
    ! grep -q "PLAIN TEXT" base.qcow2 || fail 'plain text in the file'
    # over it, with another password
    qemu_encrypts create -q "${secret[@]}" -u -f qcow2 -b base.qcow2 -F qcow2 -o "$luks,encrypt.key-secret=t,$kind" over.qcow2 3M
    over=driver=qcow2,encrypt.key-secret=t,file.filename=over.qcow2,backing.driver=qcow2
    over+=,backing.encrypt.key-secret=s,backing.file.filename=base.qcow2
    for tool in "$BYRE io" qemu-io; do
        # shellcheck disable=SC2086 # two words
        run_ok $tool "${secret[@]}" -c 'write -P 9 3000 70000' -c 'write -z 200k 100001' -c 'write -P 8 1M 512' \
            -c 'discard 2M 256k' -c 'write -P 7 2100001 3' --image-opts "$over"
        holds "$over"
    done
    run_ok "$BYRE" io "${secret[@]}" -c 'truncate 5M' -c 'read -P 0 3M 2M' -c 'write -P 3 4M 4k' --image-opts "$over"
    holds "$over"
done

# All modes of preallocation read as zeros.
for mode in metadata falloc full; do
    rm -f pre.qcow2
    run_ok "$BYRE" create "${secret[@]}" -f qcow2 -o "$luks,encrypt.key-secret=s,preallocation=$mode" pre.qcow2 3M
    run_ok qemu-io "${secret[@]}" -c 'read -P 0 0 3M' --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=pre.qcow2
    assert_match '^read 3145728' "$OUT"
    ! grep -q 'Pattern verification failed' <<<"$OUT" || fail "preallocation=$mode reads as noise"
done

# LUKS files: resized, and written to.
run_ok "$BYRE" create "${secret[@]}" -f luks -o key-secret=s,iter-time=1,preallocation=full file.luks 1M
file=driver=luks,key-secret=s,file.filename=file.luks
run_ok qemu-io "${secret[@]}" -c 'read -P 0 0 1M' -c 'write -P 5 100 1000' --image-opts $file
run_ok "$BYRE" io "${secret[@]}" -c 'read -P 5 100 1000' -c 'write -P 6 600 10' -c 'truncate 2M' \
    -c 'write -P 7 1500000 100000' --image-opts $file
run_ok qemu-io "${secret[@]}" -c 'read -P 6 600 10' -c 'read -P 5 610 490' -c 'read -P 7 1500000 100000' --image-opts $file
! grep -q 'Pattern verification failed' <<<"$OUT" || fail "a LUKS file reads otherwise: $OUT"
# a qcow2 image in it
run_ok "$BYRE" io "${secret[@]}" -c 'read 0 512' --image-opts "driver=raw,file.driver=luks,file.key-secret=s,file.file.filename=file.luks"

# AES of old is read, and not written.
text 5 500000 >old.raw
truncate -s 1M old.raw
qemu-img convert "${secret[@]}" -O qcow2 -o encrypt.format=aes,encrypt.key-secret=s,cluster_size=4k old.raw old.qcow2
old=driver=qcow2,encrypt.key-secret=s,file.filename=old.qcow2
holds $old
run_ok "$BYRE" convert "${secret[@]}" --image-opts $old -O qcow2 -o $luks,encrypt.key-secret=t new.qcow2
holds driver=qcow2,encrypt.key-secret=t,file.filename=new.qcow2
run_fails 1 'AES-CBC encryption \(crypt_method 1\) is for reading only: convert the image to LUKS' \
    "$BYRE" io "${secret[@]}" -c 'write 0 512' --image-opts $old
run_fails 1 "^byre: x: AES-CBC encryption is broken, and only read: use encrypt.format=luks\$" \
    "$BYRE" create "${secret[@]}" -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s x 1M
assert_missing x
