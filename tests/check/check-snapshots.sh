#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# check counts what snapshots, bitmaps and LUKS headers refer to.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
. "$TEST_TOP/tests/check/damage.bash"
slow

agree() {
    same check "$1"
    same_always check --output=json "$1"
    assert_match "^${2:-0}$" "$CODE"
}

for options in compat=0.10 cluster_size=512 cluster_size=4k,refcount_bits=8 compat=1.1; do
    qemu-img create -q -f qcow2 -o "$options" snap.qcow2 3M
    qemu-io -f qcow2 -c 'write -P 1 0 500k' -c 'write -z 700k 100k' snap.qcow2 >io.out
    for name in one two three; do
        qemu-img snapshot -c "$name" snap.qcow2
        qemu-io -f qcow2 -c 'write -P 2 100k 70k' -c 'write -P 3 2M 9k' snap.qcow2 >io.out
    done
    agree snap.qcow2
    qemu-img snapshot -d two snap.qcow2
    agree snap.qcow2
    cp snap.qcow2 leak.qcow2
    put_be32 leak.qcow2 60 1 # the second snapshot is forgotten
    agree leak.qcow2 '[23]'
    same_on_copy leak.qcow2 check -q -r leaks leak.qcow2
    assert_equal 0 "$CODE" "exit code of the repair"
    assert_clean leak.qcow2
done

# what is wrong in a snapshot's tables
qemu-img create -q -f qcow2 -o cluster_size=4k base.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 64k' base.qcow2 >io.out
qemu-img snapshot -c one base.qcow2
qemu-io -f qcow2 -c 'write -P 2 0 32k' base.qcow2 >io.out
table=$(get_be64 base.qcow2 64)
l1=$(get_be64 base.qcow2 "$table")
l2=$(($(get_be64 base.qcow2 "$l1") & OFFSET_MASK))
entry=$(get_be64 base.qcow2 "$l2 + 16")

cp base.qcow2 bad.qcow2
put_be64 bad.qcow2 "$l2 + 16" "$((entry | COPIED))"
agree bad.qcow2 0
put_be64 bad.qcow2 "$l2 + 16" "$((entry | 512))"
agree bad.qcow2 2
put_be64 bad.qcow2 "$l2 + 16" "$((entry | 1 << 58))"
agree bad.qcow2 2
put_be64 bad.qcow2 "$l2 + 16" $((1 << 40))
agree bad.qcow2 2
cp base.qcow2 bad.qcow2
put_be64 bad.qcow2 "$l1" "$((l2 | COPIED | 4))"
agree bad.qcow2 2
cp base.qcow2 bad.qcow2
put_be32 bad.qcow2 "$table + 36" 8
same_always check --output=json bad.qcow2
assert_equal 2 "$CODE"

# Snapshots that cannot be followed: the same verdict; leaks are not given away, and a repair of everything finds the
# table again, or gives the snapshot up.
for field in 0:8:$((l1 | 512)) 0:8:$((1 << 40)) 8:4:$((0x400001)); do
    IFS=: read -r at width value <<<"$field"
    cp base.qcow2 bad.qcow2
    "put_be$((width * 8))" bad.qcow2 "$table + $at" "$value"
    agree bad.qcow2 2
    cp bad.qcow2 before.qcow2
    run "$BYRE" check -r leaks bad.qcow2
    assert_equal 2 "$CODE" "exit code of a repair that must not be made"
    assert_same_file before.qcow2 bad.qcow2
    run "$BYRE" check -r all bad.qcow2
    assert_equal 0 "$CODE" "exit code of a repair of a snapshot"
    assert_clean bad.qcow2
    assert_same_disk base.qcow2 bad.qcow2
    run qemu-img snapshot -l bad.qcow2
    if [ "$value" = $((l1 | 512)) ]; then
        assert_match one "$OUT"
        qemu-img convert -f qcow2 -l one -O raw bad.qcow2 kept.raw
        qemu-img convert -f qcow2 -l one -O raw base.qcow2 wanted.raw
        assert_same_file wanted.raw kept.raw
    else
        assert_equal '' "$OUT" "snapshots that are left"
    fi
done

qemu-img create -q -f qcow2 -o cluster_size=4k bitmap.qcow2 8M
qemu-img bitmap --add -g 512 bitmap.qcow2 fine
qemu-img bitmap --add bitmap.qcow2 coarse
qemu-img bitmap --add --disable bitmap.qcow2 idle
qemu-io -f qcow2 -c 'write -P 1 0 100k' -c 'write -P 1 5M 10k' bitmap.qcow2 >io.out
agree bitmap.qcow2
qemu-img snapshot -c one bitmap.qcow2
agree bitmap.qcow2
cp bitmap.qcow2 stale.qcow2
put_be64 stale.qcow2 88 0 # somebody wrote without knowing of bitmaps
run qemu-img check --output=json stale.qcow2
theirs=$OUT
run "$BYRE" check --output=json stale.qcow2
assert_equal 3 "$CODE" "exit code with stale bitmaps"
assert_equal "$(normal_json <<<"$theirs")" "$(normal_json <<<"$OUT")" "the report on stale bitmaps"

qemu_encrypts create -q --object secret,id=key,data=hush -f qcow2 \
    -o encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10,cluster_size=4k luks.qcow2 1M
image_opts=driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=key
qemu-io --object secret,id=key,data=hush --image-opts -c 'write -P 1 0 64k' "$image_opts" >io.out
run qemu-img check --object secret,id=key,data=hush --image-opts "$image_opts"
theirs=$OUT
run_ok "$BYRE" check luks.qcow2 # without the key
assert_equal "$theirs" "$OUT" "the report on an encrypted image"
