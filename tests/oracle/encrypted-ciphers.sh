#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# LUKS in both directions: each cipher, mode, way to make vectors, and hash, as a file by itself and in qcow2; with
# TEST_QUICK a sample of them.
. "$(dirname "$0")/../lib.sh"
slow

noise 3 300000 >plain.raw
truncate -s 512k plain.raw
secret=(--object 'secret,id=s,data=s3cret')
raw=driver=raw,file.filename=plain.raw

# both WRITER READER FORMAT OPTIONS: what one writes the other reads.
both() {
    local writer=$1 reader=$2 format=$3 options=$4 prefix=
    [ "$format" = luks ] || prefix=encrypt.
    rm -f image
    [ "$writer" != qemu-img ] || writer=qemu_encrypts
    run_ok "$writer" convert -f raw -O "$format" "${secret[@]}" -o "$options" plain.raw image
    run_ok "$reader" compare "${secret[@]}" --image-opts "$raw" \
        "driver=$format,${prefix}key-secret=s,file.filename=image"
}

# A cipher, mode, vectors, and hash in both formats: "ours": qemu-img cannot read it; "theirs": it makes it, too, which
# takes it a second or two.
try() {
    local list=cipher-alg=$1,cipher-mode=$2,ivgen-alg=${3%%:*},hash-alg=$4 who=${5:-}
    local options=key-secret=s,iter-time=1,$list
    [[ $3 != *:* ]] || options+=,ivgen-hash-alg=${3#*:}
    for format in luks qcow2; do
        in_sample || continue
        [ "$format" = luks ] || options=encrypt.format=luks,encrypt.${options//,/,encrypt.}
        if [ "$who" = ours ]; then
            both "$BYRE" "$BYRE" $format "$options"
        else
            both "$BYRE" qemu-img $format "$options"
            [ "$who" != theirs ] || both qemu-img "$BYRE" $format "$options"
        fi
    done
}

for bits in 128 192 256; do
    for mode in xts cbc ecb ctr; do
        who=
        # key material that is no whole number of sectors, which qemu-img ends itself over
        [ $bits$mode = 192xts ] || [ $bits != 192 ] || who=ours
        for vectors in plain plain64 essiv:sha256; do
            try aes-$bits $mode $vectors sha256 $who
        done
    done
done
for hash in md5 sha1 sha224 sha384 sha512; do
    try aes-128 xts plain64 $hash
done
try aes-256 cbc essiv:md5 sha1 theirs
try aes-256 xts plain64 sha512 theirs
try aes-192 xts plain sha256 theirs
try aes-128 ctr essiv:sha256 md5 theirs
try aes-256 ecb plain64 sha384 theirs

# what GnuTLS has not
run_fails 1 "^byre: x: Hash algorithm 'ripemd160' is not supported" \
    "$BYRE" create "${secret[@]}" -f luks -o key-secret=s,hash-alg=ripemd160 x 1M
run_fails 1 "^byre: x: Algorithm 'serpent-256' not supported\$" \
    "$BYRE" create "${secret[@]}" -f luks -o key-secret=s,cipher-alg=serpent-256 x 1M
assert_missing x
qemu_encrypts create -q "${secret[@]}" -f luks -o key-secret=s,iter-time=1,cipher-alg=twofish-128 twofish.luks 1M
run_fails 1 "Algorithm 'twofish' with key size 128 bits not supported" "$BYRE" info twofish.luks
