#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# recover: images whose contents are encrypted, or in an external data file, with and without their header.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/check/damage.bash"

secret=(--object 'secret,id=s,data=open' --object 'secret,id=wrong,data=shut')
key=("${secret[@]}" --key-secret s)
image=driver=qcow2,encrypt.key-secret=s,file.filename=image.qcow2

# fill_disk OPTION...: writes to the image by byre io, and plain.raw has the same.
fill_disk() {
    run_ok "$BYRE" io "$@" -c 'write -q -P 1 0 500k' -c 'write -q -P 2 2100k 300k' -c 'write -q -P 3 4500k 100k' \
        -c 'write -q -P 4 6100k 44k' -c 'write -q -z 100k 8k'
}

truncate -s 6M plain.raw
fill_disk -f raw plain.raw

# recover CODE OPTION...: into new.qcow2; $OUT is the report; the files stay as they are.
recover() {
    local code=$1 file
    shift
    rm -f new.qcow2
    for file in image.qcow2 image.data; do
        [ ! -e $file ] || cp $file before.$file
    done
    run "$BYRE" recover "$@" image.qcow2 new.qcow2
    assert_equal "$code" "$CODE" "exit code of recover $* ($ERR)"
    for file in image.qcow2 image.data; do
        [ ! -e $file ] || assert_same_file before.$file $file
    done
}

assert_all() {
    assert_clean new.qcow2
    assert_same_disk -f raw -F qcow2 plain.raw new.qcow2
}

destroy_header() {
    put_bytes image.qcow2 0 "$(printf '00%.0s' $(seq 1024))"
}

# --- data files ---

for options in data_file_raw=off data_file_raw=on extended_l2=on,data_file_raw=off; do
    rm -f image.*
    size=4k
    [[ $options != extended* ]] || size=16k
    run_ok "$BYRE" create -q -f qcow2 -o "cluster_size=$size,data_file=image.data,$options" image.qcow2 6M
    fill_disk image.qcow2
    locate image.qcow2
    recover 1
    assert_match "image.qcow2' has its data in 'image.data', an external data file, which has to be given" "$ERR"
    assert_missing new.qcow2
    recover 0 --data-file image.data
    assert_all
    put_be64 image.qcow2 "$L1" 0x1234567890abcdef
    recover 2 --data-file image.data
    assert_all
    [[ $options != extended* ]] || continue
    destroy_header
    recover 2 --data-file image.data --size 6M --cluster-size=4k
    assert_match 'Header: lost' "$OUT"
    assert_all
done
run_fails 1 'is the data file of the damaged image itself' "$BYRE" recover --data-file image.data image.qcow2 image.data
assert_same_file before.image.data image.data
run_fails 1 'missing' "$BYRE" recover --data-file missing image.qcow2 x
run_ok "$BYRE" create -q -f qcow2 image.qcow2 6M
recover 1 --data-file image.data
assert_match "'image.qcow2' has no external data file, but one is given" "$ERR"
rm -f image.data

# --- encrypted ones ---

run_fails 1 "'image.qcow2' is not encrypted, but parameter 'key-secret' is given" "$BYRE" recover "${key[@]}" image.qcow2 x
for options in encrypt.cipher-alg=aes-256 extended_l2=on; do
    rm -f image.*
    size=4k
    [[ $options != extended* ]] || size=16k
    options+=,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1
    run_ok "$BYRE" create -q "${secret[@]}" -f qcow2 -o "cluster_size=$size,$options" image.qcow2 6M
    fill_disk "${secret[@]}" --image-opts $image
    locate image.qcow2
    recover 1
    assert_match "'image.qcow2' is encrypted: parameter 'key-secret' is required for cipher" "$ERR"
    recover 1 "${secret[@]}" --key-secret wrong
    assert_match 'Invalid password, cannot unlock any keyslot' "$ERR"
    recover 1 --object secret,id=none,data=x --key-secret another
    assert_match "No secret with id 'another'" "$ERR"
    assert_missing new.qcow2
    recover 0 "${key[@]}"
    assert_all
    put_be64 image.qcow2 "$L1" 0x1234567890abcdef
    recover 2 "${key[@]}"
    assert_all
    put_be32 image.qcow2 0 0
    recover 2 "${key[@]}"
    assert_match 'Header: guessed' "$OUT"
    assert_all
    [[ $options != extended* ]] || continue
    destroy_header
    recover 2 "${key[@]}" --size 6M --cluster-size=4k
    assert_all
    recover 1 "${secret[@]}" --key-secret wrong
    assert_match "'image.qcow2' has no header, and of 1 LUKS headers in it none opens with the password" "$ERR"
done

# Encryption of old: its sectors are counted in the disk.
rm -f image.*
qemu-img convert "${secret[@]}" -f raw -O qcow2 -o encrypt.format=aes,encrypt.key-secret=s,cluster_size=4k plain.raw image.qcow2 \
    2>qemu.err
locate image.qcow2
recover 0 "${key[@]}"
assert_all
put_be64 image.qcow2 "$L1 + 8" 0x1234567890abcdef
recover 2 "${key[@]}"
assert_all

# A partition that the guest has encrypted looks the same as a header of the image.
rm -f image.*
run_ok "$BYRE" create -q "${secret[@]}" -f luks -o key-secret=s,iter-time=1 partition 64k
run_ok "$BYRE" convert -f raw -O qcow2 -o cluster_size=4k partition image.qcow2
destroy_header
recover 2 --size "$(file_size partition)" --cluster-size 4k
assert_same_disk -f raw -F qcow2 partition new.qcow2

# Both at once.
rm -f image.*
options=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1,data_file=image.data,cluster_size=4k
run_ok "$BYRE" create -q "${secret[@]}" -f qcow2 -o $options image.qcow2 6M
fill_disk "${secret[@]}" --image-opts $image
recover 0 "${key[@]}" --data-file image.data
assert_all

# What a check cannot repair, it leaves for recover.
rm -f image.*
run_ok "$BYRE" create -q -f qcow2 -o cluster_size=4k image.qcow2 6M
fill_disk image.qcow2
put_be64 image.qcow2 40 0x1000000000
run "$BYRE" check -r all image.qcow2
assert_equal 2 "$CODE" "exit code of check ($ERR)"
recover 2
assert_all
