#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What features and operations do not go together: each such command exits with 1 and says why, and creates and changes
# nothing; as qemu-img, where that refuses it, too.
. "$(dirname "$0")/../lib.sh"
slow

S='--object secret,id=s,data=abc'

# extension IMAGE: where the header extension of bitmaps is, the last one.
extension() {
    local at=112
    while [ "$(get_be32 "$1" $at)" != $((0x23852875)) ]; do
        at=$((at + 8 + ($(get_be32 "$1" $((at + 4))) + 7) / 8 * 8))
    done
    echo $((at + 8))
}

mkdir images
(
    cd images
    noise 1 200000 >kept.data
    qemu-img create -q -f raw plain.raw 1M
    qemu-img create -q -f qcow2 plain.qcow2 1M
    qemu-img create -q -f qcow2 -o compat=v2 old.qcow2 1M
    qemu-img create -q -f qcow2 -o refcount_bits=1 one.qcow2 1M
    qemu-img create -q -f qcow2 -o extended_l2=on extended.qcow2 1M
    for image in plain old one extended; do
        qemu_io -c 'write -q -P 1 0 200k' $image.qcow2
    done
    for image in plain old extended; do
        cp $image.qcow2 $image-snap.qcow2
        qemu-img snapshot -c snap $image-snap.qcow2
    done
    qemu-img create -q -f qcow2 -b plain.qcow2 -F qcow2 over.qcow2
    qemu-img create -q -f qcow2 -o data_file=data data.qcow2 1M
    qemu-img create -q -f qcow2 -o data_file=raw-data,data_file_raw=on raw-data.qcow2 1M
    for image in bitmap bitmap-snap lost; do
        cp plain.qcow2 $image.qcow2
        qemu-img bitmap --add $image.qcow2 b
    done
    qemu-img snapshot -c snap bitmap-snap.qcow2
    # the flags of the bitmap of the first program that has ended too early
    put_be32 lost.qcow2 $(($(get_be64 lost.qcow2 $(($(extension lost.qcow2) + 16))) + 12)) 3
    cp plain.qcow2 corrupt.qcow2
    put_be64 corrupt.qcow2 72 2
    cp plain.qcow2 unknown.qcow2
    put_be64 unknown.qcow2 72 1024
    # shellcheck disable=SC2086 # words
    "$BYRE" create -q $S -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 luks.qcow2 1M
    # shellcheck disable=SC2086
    "$BYRE" create -q $S -f luks -o key-secret=s,iter-time=1 luks.img 1M
    # shellcheck disable=SC2086
    qemu-img create -q $S -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s aes.qcow2 1M
)

# What a program says, as far as it is about the command.
complaint() {
    sed -E '/^WARNING: Image format was not/,+2d; s/^(qemu-img|qemu-io|byre): //
        s/^(Could not open [^:]*: |can.t open[^:]*: )qcow2: (Image is corrupt)/\1\2/' <<<"$ERR"
}

# run_in_copy PROGRAM WORD...: sets CHANGES, what is not in the directory as it was; then it is again.
run_in_copy() {
    cd work
    run "$@"
    cd ..
    CHANGES=$(diff -rq images work || true)
    [ -z "$CHANGES" ] || { rm -rf work && cp -a images work; }
}

# refused HOW MESSAGE WORD...
refused() {
    local how=$1 message=$2 program=qemu-img said
    shift 2
    run_in_copy "$BYRE" "$@"
    said=$(complaint)
    [ "$CODE" = 1 ] || fail "byre $*: exit code $CODE ($ERR)"
    [[ $said == *"$message"* ]] || fail "byre $* says '$said', which is to have: $message"
    [ -z "$CHANGES" ] || fail "byre $* has changed something: $CHANGES"
    [ -z "$TEST_QUICK" ] || return 0
    if [ "$1" = io ]; then
        program=qemu-io
        shift
    fi
    run_in_copy $program "$@"
    case $how in
    '=') assert_equal "$(complaint)" "$said" "complaint of $*" ;;
    '~') [ "$(complaint)" != "$said" ] || fail "qemu says the same of $*: $said" ;;
    '+') assert_equal 0 "$CODE" "exit code of qemu's $*" ;;
    *) fail "what is $how?" ;;
    esac
    [ "$how" = + ] || assert_equal 1 "$CODE" "exit code of qemu's $*"
}

# Each line: "=" where qemu says the same, "~" where it says something else, "+" where it does it; the words of the
# command, in which "_" is a blank for io; and what byre says.
cp -a images work
count=0
while read -r how line; do
    [ "$how" != '#' ] || continue
    case $line in *zstd*) has ZSTD || continue ;; esac
    eval "words=(${line%% | *})"
    [ "${words[0]}" != io ] || words=("${words[@]//_/ }")
    refused "$how" "${line#* | }" "${words[@]}"
    count=$((count + 1))
done <<'END'
# What excludes each other in a new image.
= create -f qcow2 -o compat=v2,extended_l2=on x 1M | Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)
= create -f qcow2 -o compat=v2,lazy_refcounts=on x 1M | Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)
= create -f qcow2 -o compat=v2,refcount_bits=8 x 1M | Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)
= create -f qcow2 -o compat=v2,compression_type=zstd x 1M | Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)
= create -f qcow2 -o compat=v2,data_file=y x 1M | External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)
= create -f qcow2 -o compat=v2,data_file=y,data_file_raw=on x 1M | External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)
= create -f qcow2 -o extended_l2=on,cluster_size=8k x 1M | Extended L2 entries are only supported with cluster sizes of at least 16384 bytes
= create -f qcow2 -o data_file_raw=on x 1M | data-file-raw requires data-file
= create -f qcow2 -o data_file=y,data_file_raw=on -b plain.raw -F raw x | Backing file and data-file-raw cannot be used at the same time
= create -f qcow2 -o preallocation=metadata -b plain.raw -F raw x | Backing file and preallocation can only be used at the same time if extended_l2 is on
= create -f qcow2 -o preallocation=falloc -b plain.raw -F raw x | Backing file and preallocation can only be used at the same time if extended_l2 is on
= create -f qcow2 -o preallocation=full,extended_l2=on,cluster_size=4k x 1M | Extended L2 entries are only supported with cluster sizes of at least 16384 bytes
= create -f qcow2 -o encrypt.format=luks x 1M | Parameter 'encrypt.key-secret' is required for cipher
= create -f qcow2 -o encrypt.key-secret=s $S x 1M | Parameter 'encrypt.format' is missing
= create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=t $S x 1M | No secret with id 't'
+ create -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s $S x 1M | AES-CBC encryption is broken, and only read: use encrypt.format=luks
~ create -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s,encrypt.cipher-alg=aes-256 $S x 1M | AES-CBC encryption is broken, and only read: use encrypt.format=luks
= create -f qcow2 -o encrypt.format=none,encrypt.key-secret=s $S x 1M | Parameter 'format' does not accept value 'none'
~ create -f qcow2 -o encryption=on,encrypt.format=luks,encrypt.key-secret=s $S x 1M | Option 'encryption=on' is not supported
= create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-mode=ofb $S x 1M | Parameter 'cipher-mode' does not accept value 'ofb'
= create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=md4 $S x 1M | Parameter 'ivgen-hash-alg' does not accept value 'md4'
+ create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=serpent-256 $S x 1M | Algorithm 'serpent-256' not supported
= create -f luks x 1M | Parameter 'key-secret' is required for cipher
= create -f luks -o key-secret=t $S x 1M | No secret with id 't'
= create -f luks -o key-secret=s,cluster_size=4k $S x 1M | Invalid parameter 'cluster_size'
= create -f luks -o key-secret=s -b plain.raw -F raw $S x | Backing file not supported for file format 'luks'
= create -f raw -o encrypt.format=luks x 1M | Invalid parameter 'encrypt.format'
= create -f raw -o preallocation=metadata x 1M | Unsupported preallocation mode: metadata
= create -f raw -o extended_l2=on x 1M | Invalid parameter 'extended_l2'
= create -f raw -b plain.raw -F raw x | Backing file not supported for file format 'raw'
~ create -f qcow2 -o keep_data_file=on x 1M | keep_data_file requires data_file
~ create -f qcow2 -o keep_data_file=on,data_file=kept.data,preallocation=full x 1M | preallocation of more than metadata would overwrite the data file, which keep_data_file forbids
~ create -f qcow2 -o keep_data_file=on,data_file=kept.data,encrypt.format=luks,encrypt.key-secret=s $S x 1M | what keep_data_file keeps is not encrypted with the key of a new image
+ create -f qcow2 -b luks.qcow2 -F qcow2 x | Parameter 'encrypt.key-secret' is required for cipher
= create -f qcow2 -b corrupt.qcow2 -F raw -o data_file=y,data_file_raw=on x | Backing file and data-file-raw cannot be used at the same time
# Conversions.
= convert -c -O raw plain.qcow2 x | Compression not supported for this file format
= convert -c -O luks -o key-secret=s $S plain.qcow2 x | Compression not supported for this file format
= convert -c -O qcow2 -o preallocation=metadata plain.qcow2 x | Compression and preallocation not supported at the same time
= convert -c -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s $S plain.qcow2 x | Compression and encryption not supported at the same time
~ convert -c -O qcow2 -o data_file=y plain.qcow2 x | Compression not supported with an external data file
~ convert -c -O qcow2 -o data_file=y,data_file_raw=on plain.qcow2 x | Compression not supported with an external data file
~ convert -c -n -O qcow2 plain.qcow2 data.qcow2 | Compression not supported with an external data file
+ convert -c -n -f raw $S --target-image-opts plain.raw driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2 | Compression and encryption not supported at the same time
+ convert -n -f raw $S --target-image-opts plain.raw driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2 | AES-CBC encryption (crypt_method 1) is for reading only: convert the image to LUKS
= convert -n -O qcow2 plain.qcow2 luks.qcow2 | Parameter 'encrypt.key-secret' is required for cipher
= convert -n -O qcow2 plain.qcow2 corrupt.qcow2 | Image is corrupt; cannot be opened read/write
~ convert -n -O qcow2 plain.qcow2 unknown.qcow2 | Unknown incompatible feature: 400 (incompatible_features is 0x400)
= convert -n -O luks plain.qcow2 luks.img | Parameter 'key-secret' is required for cipher
= convert -O qcow2 luks.qcow2 x | Parameter 'encrypt.key-secret' is required for cipher
= convert -f luks -O qcow2 luks.img x | Parameter 'key-secret' is required for cipher
~ convert -O qcow2 unknown.qcow2 x | Unknown incompatible feature: 400 (incompatible_features is 0x400)
= convert -O raw -o cluster_size=4k plain.qcow2 x | Invalid parameter 'cluster_size'
= convert -O raw --bitmaps bitmap.qcow2 x | Format driver 'raw' does not support bitmaps
= convert -O qcow2 --bitmaps -o compat=v2 bitmap.qcow2 x | Format driver 'qcow2' does not support bitmaps
= convert -O qcow2 --bitmaps lost.qcow2 x | Cannot copy inconsistent bitmap 'b'
= convert -O qcow2 --bitmaps plain.raw x | Source lacks bitmap support
= convert -O qcow2 --bitmaps -f raw plain.raw x | Source lacks bitmap support
= convert -O qcow2 --bitmaps bitmap.qcow2 bitmap.qcow2 x | Copying bitmaps only possible with single source
= convert -O qcow2 --skip-broken-bitmaps lost.qcow2 x | Use of --skip-broken-bitmaps requires --bitmaps
= convert -n -O qcow2 --bitmaps bitmap.qcow2 old.qcow2 | Format driver 'qcow2' does not support bitmaps
= convert -n -O qcow2 --bitmaps bitmap.qcow2 bitmap-snap.qcow2 | Failed to create bitmap b: Bitmap already exists: b
= convert -f raw -l snap -O qcow2 plain.raw x | Failed to load snapshot: Block format 'raw' used by device '' does not support temporarily loading internal snapshots
= convert -l snap -O qcow2 plain.qcow2 x | Failed to load snapshot: Can't find snapshot
= convert -l snap -O qcow2 data.qcow2 x | Failed to load snapshot: Can't find snapshot
= convert -B plain.qcow2 -F qcow2 -O raw over.qcow2 x | Backing file not supported for file format 'raw'
= convert -B plain.qcow2 -F qcow2 -O qcow2 -o data_file=y,data_file_raw=on over.qcow2 x | error while converting qcow2: Backing file and data-file-raw cannot be used at the same time
= convert -B plain.qcow2 -F qcow2 -O luks -o key-secret=s $S over.qcow2 x | Backing file not supported for file format 'luks'
= convert -O qcow2 -o compat=v2,compression_type=zstd plain.qcow2 x | error while converting qcow2: Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)
= convert --target-is-zero -O qcow2 plain.qcow2 x | --target-is-zero requires use of -n flag
# Snapshots.
~ snapshot -c one one.qcow2 | 'one.qcow2': host cluster 4 would have 2 references, more than refcount_bits=1 can count
~ snapshot -c one data.qcow2 | 'data.qcow2': no snapshots go with an external data file
~ snapshot -c one raw-data.qcow2 | 'raw-data.qcow2': no snapshots go with an external data file
= snapshot -c one plain.raw | -95 (Operation not supported)
= snapshot -c one luks.img | Parameter 'key-secret' is required for cipher
= snapshot -c one luks.qcow2 | Parameter 'encrypt.key-secret' is required for cipher
= snapshot -c one corrupt.qcow2 | Image is corrupt; cannot be opened read/write
~ snapshot -c one unknown.qcow2 | Unknown incompatible feature: 400 (incompatible_features is 0x400)
+ snapshot -c one $S --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2 | AES-CBC encryption (crypt_method 1) is for reading only: convert the image to LUKS
= snapshot -a snap bitmap-snap.qcow2 | Could not apply snapshot 'snap': Device has active dirty bitmaps
~ snapshot -a snap data.qcow2 | Could not apply snapshot 'snap': Failed to load snapshot: No such file or directory
= snapshot -a snap plain.raw | Could not apply snapshot 'snap': Block driver does not support snapshots
= snapshot -d snap plain.raw | Could not delete snapshot 'snap': snapshot not found
= snapshot -d snap data.qcow2 | Could not delete snapshot 'snap': snapshot not found
= snapshot -d nothing plain-snap.qcow2 | Could not delete snapshot 'nothing': snapshot not found
= snapshot -a nothing plain-snap.qcow2 | Could not apply snapshot 'nothing': Failed to load snapshot: No such file or directory
# Bitmaps.
~ bitmap --add old.qcow2 c | Can't make bitmap 'c' persistent in 'old.qcow2': Cannot store dirty bitmaps in qcow2 v2 files
~ bitmap --add -f raw plain.raw c | Can't store persistent bitmaps to plain.raw: Operation not supported
= bitmap --add luks.qcow2 c | Parameter 'encrypt.key-secret' is required for cipher
~ bitmap --add $S --image-opts driver=luks,key-secret=s,file.filename=luks.img c | Can't store persistent bitmaps to json:
+ bitmap --add $S --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2 c | AES-CBC encryption (crypt_method 1) is for reading only: convert the image to LUKS
= bitmap --add corrupt.qcow2 c | Image is corrupt; cannot be opened read/write
~ bitmap --add unknown.qcow2 c | Unknown incompatible feature: 400 (incompatible_features is 0x400)
= bitmap --add bitmap.qcow2 b | Operation add on bitmap b failed: Bitmap already exists: b
= bitmap --clear lost.qcow2 b | Operation clear on bitmap b failed: Bitmap 'b' is inconsistent and cannot be used
= bitmap --enable lost.qcow2 b | Operation enable on bitmap b failed: Bitmap 'b' is inconsistent and cannot be used
= bitmap --disable lost.qcow2 b | Operation disable on bitmap b failed: Bitmap 'b' is inconsistent and cannot be used
= bitmap --merge b -b lost.qcow2 -F qcow2 bitmap.qcow2 b | Operation merge on bitmap b failed: Bitmap 'b' is inconsistent and cannot be used
= bitmap --merge b -b old.qcow2 -F qcow2 bitmap.qcow2 b | Operation merge on bitmap b failed: Dirty bitmap 'b' not found
= bitmap --merge b -b plain.raw -F raw bitmap.qcow2 b | Operation merge on bitmap b failed: Dirty bitmap 'b' not found
= bitmap --merge b old.qcow2 b | Operation merge on bitmap b failed: Dirty bitmap 'b' not found
= bitmap --remove old.qcow2 b | Operation remove on bitmap b failed: Dirty bitmap 'b' not found
# Sizes.
= resize old-snap.qcow2 2M | Can't resize a v2 image which has snapshots
= resize --shrink old-snap.qcow2 512k | Can't resize a v2 image which has snapshots
= resize plain.qcow2 512k | Use the --shrink option to perform a shrink operation.
= resize plain-snap.qcow2 512k | Use the --shrink option to perform a shrink operation.
= resize plain.raw 512k | Use the --shrink option to perform a shrink operation.
= resize --preallocation=metadata -f raw plain.raw 2M | Unsupported preallocation mode: metadata
= resize --shrink --preallocation=full plain.qcow2 512k | Preallocation can only be used for growing images
= resize --preallocation=metadata over.qcow2 512k | Preallocation can only be used for growing images
= resize luks.qcow2 2M | Parameter 'encrypt.key-secret' is required for cipher
+ resize $S --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2 2M | AES-CBC encryption (crypt_method 1) is for reading only: convert the image to LUKS
= resize corrupt.qcow2 2M | Image is corrupt; cannot be opened read/write
~ resize unknown.qcow2 2M | Unknown incompatible feature: 400 (incompatible_features is 0x400)
= resize plain.qcow2 7E | Failed to grow the L1 table: File too large
# Amendments.
= amend -o compat=v2 extended.qcow2 | Cannot downgrade an image with incompatible features 0x10 set
= amend -o compat=v2 data.qcow2 | Cannot downgrade an image with a data file
= amend -o compat=v2 one.qcow2 | compat=0.10 requires refcount_bits=16
+ amend -o compat=v2 bitmap.qcow2 | Cannot downgrade an image with bitmaps
= amend -o compat=v2,lazy_refcounts=on plain.qcow2 | Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)
= amend -o compat=v2,refcount_bits=8 plain.qcow2 | Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)
= amend -o compat=v2,size=2M plain-snap.qcow2 | Internal snapshots prevent downgrade of image
= amend -o refcount_bits=8 old.qcow2 | Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)
= amend -o refcount_bits=1 plain-snap.qcow2 | Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x40000 has a refcount of 2
= amend -o compat=v3,refcount_bits=1 old-snap.qcow2 | Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x40000 has a refcount of 2
= amend -o lazy_refcounts=on old.qcow2 | Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)
= amend -o size=2M old-snap.qcow2 | Can't resize a v2 image which has snapshots
= amend -o lazy_refcounts=on,size=7E plain.qcow2 | Failed to grow the L1 table: File too large
= amend -o data_file=y plain.qcow2 | data-file can only be set for images that use an external data file
= amend -o data_file_raw=on plain.qcow2 | data-file-raw cannot be set on existing images
= amend -o data_file_raw=on data.qcow2 | data-file-raw cannot be set on existing images
= amend -o backing_file=plain.raw plain.qcow2 | Cannot amend the backing file
= amend -o backing_file=plain.raw,backing_fmt=raw over.qcow2 | Cannot amend the backing file
= amend -o cluster_size=4k plain.qcow2 | Invalid parameter 'cluster_size'
= amend -o extended_l2=on plain.qcow2 | Invalid parameter 'extended_l2'
= amend -o compression_type=zstd plain.qcow2 | Invalid parameter 'compression_type'
= amend -o preallocation=full plain.qcow2 | Invalid parameter 'preallocation'
= amend -o encrypt.format=luks plain.qcow2 | Invalid parameter 'encrypt.format'
= amend -o encrypt.state=active,encrypt.new-secret=s $S plain.qcow2 | Can't amend encryption options - encryption not present
= amend -o encrypt.state=active,encrypt.new-secret=s $S luks.qcow2 | Parameter 'encrypt.key-secret' is required for cipher
~ amend -o encrypt.state=active,encrypt.new-secret=s $S --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2 | AES-CBC encryption (crypt_method 1) is for reading only: convert the image to LUKS
= amend -o lazy_refcounts=on luks.qcow2 | Parameter 'encrypt.key-secret' is required for cipher
= amend -o state=active,new-secret=s $S -f raw plain.raw | Format driver 'raw' does not support option amendment
= amend -o lazy_refcounts=on $S --image-opts driver=luks,key-secret=s,file.filename=luks.img | Invalid parameter 'lazy_refcounts'
= amend -o size=2M -f raw plain.raw | Format driver 'raw' does not support option amendment
= amend -o size=2M corrupt.qcow2 | Image is corrupt; cannot be opened read/write
~ amend -o size=2M unknown.qcow2 | Unknown incompatible feature: 400 (incompatible_features is 0x400)
# Writing, and repair.
~ io -c write_-c_0_64k data.qcow2 | 'data.qcow2': no compressed clusters go with an external data file: Operation not supported
~ io -c write_-c_0_64k raw-data.qcow2 | 'raw-data.qcow2': no compressed clusters go with an external data file: Operation not supported
~ io -c write_-c_0_64k plain.raw | 'plain.raw': format raw has no compressed clusters
+ io -c write_-c_0_64k $S --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2 | Compression and encryption not supported at the same time
~ io -c write_-c_512_64k plain.qcow2 | 'plain.qcow2': only whole clusters can be compressed
~ io -c write_-b_0_64k -f raw plain.raw | 'plain.raw' has no place for VM state: Operation not supported
+ io -c write_0_512 $S --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2 | AES-CBC encryption (crypt_method 1) is for reading only: convert the image to LUKS
= io -c write_0_512 corrupt.qcow2 | Image is corrupt; cannot be opened read/write
~ io -c write_0_512 unknown.qcow2 | Unknown incompatible feature: 400 (incompatible_features is 0x400)
= io -c write_0_512 luks.qcow2 | Parameter 'encrypt.key-secret' is required for cipher
~ check -r all unknown.qcow2 | Unknown incompatible feature: 400 (incompatible_features is 0x400)
END
echo "tried: $count commands that are refused"
