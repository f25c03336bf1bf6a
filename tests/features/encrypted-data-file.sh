#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What is preallocated in an encrypted data file reads as zeros, in a new image and in one that has grown, although such
# a file is no zeros; and a data file whose contents are to be kept cannot be encrypted with a new key.
. "$(dirname "$0")/../lib.sh"

secret=(--object 'secret,id=s,data=s3cret')
image=driver=qcow2,encrypt.key-secret=s,file.filename=image.qcow2

# zeros FROM LENGTH: the disk has them there, for both programs.
zeros() {
    local tool
    for tool in "$BYRE io" qemu-io; do
        # shellcheck disable=SC2086 # two words
        run_ok $tool "${secret[@]}" -c "read -P 0 $1 $2" --image-opts $image
        assert_match "^read $2/$2" "$OUT"
        ! grep -q 'Pattern verification failed' <<<"$OUT" || fail "$tool finds noise"
    done
}

for raw in on off; do
    for extended in off on; do
        for mode in metadata off falloc full; do
            [ -z "$TEST_QUICK" ] || [ $mode = metadata ] || continue
            rm -f image.qcow2 image.data
            options=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1,extended_l2=$extended
            options+=,data_file=image.data,data_file_raw=$raw,preallocation=$mode
            run_ok "$BYRE" create -q "${secret[@]}" -f qcow2 -o "$options" image.qcow2 524288
            zeros 0 524288
            run_ok "$BYRE" io "${secret[@]}" -c 'write -q -P 9 0 512k' --image-opts $image
            run_ok "$BYRE" resize -q "${secret[@]}" --preallocation=$mode --image-opts $image 1048576
            zeros 524288 524288
            run_ok "$BYRE" resize -q "${secret[@]}" --shrink --image-opts $image 328192
            run_ok "$BYRE" resize -q "${secret[@]}" --preallocation=$mode --image-opts $image 656384
            zeros 328192 328192
            run_ok "$BYRE" check "${secret[@]}" --image-opts $image
        done
    done
done

truncate -s 1M kept.data
run_fails 1 'what keep_data_file keeps is not encrypted with the key of a new image' "$BYRE" create "${secret[@]}" -f qcow2 \
    -o encrypt.format=luks,encrypt.key-secret=s,data_file=kept.data,keep_data_file=on kept.qcow2 1M
assert_missing kept.qcow2
