#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# check -r repairs what qemu-img repairs, and what it leaves, and keeps the contents.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
. "$TEST_TOP/tests/check/damage.bash"
slow

# contents IMAGE FILE: what the guest reads; fails if qemu-img cannot read it to its end.
contents() {
    qemu-img convert -f qcow2 -O raw "$1" "$2" 2>convert.err
}

counts() {
    [ -z "$OUT" ] || normal_json <<<"$OUT" | grep -E '"(corruptions|leaks|check-errors)' || true
}

# repair KIND WHAT: by qemu-img and byre; $CODE is that of byre, $theirs that of qemu-img.
repair() {
    cp sound.qcow2 theirs.qcow2
    damage "$1" theirs.qcow2
    cp theirs.qcow2 ours.qcow2
    rm -f before.raw
    contents ours.qcow2 before.raw || rm -f before.raw
    run qemu-img check --output=json -r "$2" theirs.qcow2
    theirs=$CODE their_counts=$(counts)
    run "$BYRE" check --output=json -r "$2" ours.qcow2
    our_counts=$(counts)
    if [ -e before.raw ]; then
        contents ours.qcow2 after.raw
        assert_same_file before.raw after.raw
    fi
}

# What both mend completely.
mends() {
    local what=$1 kind
    shift
    for kind in $(printf '%s\n' "$@" | sampled); do
        repair "$kind" "$what"
        assert_equal 0 "$theirs" "exit code of qemu-img check -r $what for $kind"
        assert_equal 0 "$CODE" "exit code of byre check -r $what for $kind"
        assert_equal "$their_counts" "$our_counts" "report on -r $what for $kind"
        assert_clean ours.qcow2
        run_ok "$BYRE" check -q ours.qcow2
        [ "$(get_be32 ours.qcow2 4)" = 2 ] || assert_equal 0 "$(get_be64 ours.qcow2 72)" "incompatible bits"
    done
}

# What byre mends completely, and qemu-img may leave; the contents stay where they can be read at all.
mends_more() {
    local kind
    for kind in $(printf '%s\n' "$@" | sampled); do
        repair "$kind" all
        assert_equal 0 "$CODE" "exit code of byre check -r all for $kind"
        assert_clean ours.qcow2
        run_ok "$BYRE" check -q ours.qcow2
        cp ours.qcow2 again.qcow2
        run_ok "$BYRE" check -q -r all again.qcow2
        assert_same_file ours.qcow2 again.qcow2
        [ "$(get_be32 ours.qcow2 4)" = 2 ] || assert_equal 0 "$(get_be64 ours.qcow2 72)" "incompatible bits"
    done
}

# Damage that stays, and is reported again.
leaves() {
    local what=$1 kind
    shift
    for kind in $(printf '%s\n' "$@" | sampled); do
        repair "$kind" "$what"
        assert_equal 2 "$theirs" "exit code of qemu-img check -r $what for $kind"
        assert_equal 2 "$CODE" "exit code of byre check -r $what for $kind"
        assert_equal "$their_counts" "$our_counts" "report on -r $what for $kind"
        run "$BYRE" check -q ours.qcow2
        assert_equal 2 "$CODE" "exit code of a second check for $kind"
    done
}

for options in compat=1.1,cluster_size=4k compat=0.10,cluster_size=4k cluster_size=1k,refcount_bits=64 \
    cluster_size=64k,refcount_bits=2; do
    [ -z "$TEST_QUICK" ] || [ "$options" = compat=1.1,cluster_size=4k ] || continue
    qemu-img create -q -f qcow2 -o "$options" sound.qcow2 640k
    locate sound.qcow2
    qemu-io -f qcow2 -c "write -P 1 0 $((8 * CLUSTER))" sound.qcow2 >io.out
    version=$(get_be32 sound.qcow2 4)
    for what in leaks all; do
        mends "$what" nothing leak leaks high-refcount high-metadata-refcount flag-missing l1-flag-missing \
            flag-and-leak shared-counted beyond-size
        [ "$version" = 2 ] || mends "$what" dirty marked-corrupt
    done
    leaves leaks reserved-bit reserved-low-bit l1-reserved-bit compressed-copied compressed-past-end
    mends_more reserved-bit reserved-low-bit l1-reserved-bit compressed-copied compressed-past-end past-end \
        far-past-end just-past-end unaligned l2-past-end overlaps-l1 overlaps-header block-missing block-past-end \
        block-twice block-is-data table-past-end table-unaligned table-is-l1 table-is-header table-describes-itself
    mends all low-refcount low-l2-refcount low-header-refcount shared compressed-shares
    [ "$version" = 2 ] || mends all unaligned-zero
    leaves leaks shared unaligned

    # Refcounts that are too low: qemu-img -r leaks gives up, byre mends the leaks and says what is left.
    for kind in low-refcount low-l2-refcount low-header-refcount; do
        repair "$kind" leaks
        assert_equal 1 "$theirs" "exit code of qemu-img check -r leaks for $kind"
        assert_equal 2 "$CODE" "exit code of byre check -r leaks for $kind"
    done
done

# A killed writer with lazy refcounts leaves them low and the image dirty.
qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on lazy.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 256k' -c flush -c 'sigraise 9' lazy.qcow2 >io.out 2>&1 || true
assert_equal 1 "$(get_be64 lazy.qcow2 72)" "the dirty bit"
same_always check lazy.qcow2
assert_equal 2 "$CODE" "exit code of check"
cp lazy.qcow2 mended.qcow2
run "$BYRE" check -r all mended.qcow2
assert_equal 0 "$CODE" "exit code of check -r all"
assert_equal 0 "$(get_be64 mended.qcow2 72)" "the dirty bit"
assert_clean mended.qcow2
assert_same_disk lazy.qcow2 mended.qcow2

# Two entries lead to one cluster, and a refcount has one bit: the data is copied.  With LUKS that would be the end of
# it, for what is encrypted depends on its place: it stays, until refcounts are wide enough.
luks=(--object 'secret,id=key,data=hush' --image-opts
    'driver=qcow2,encrypt.key-secret=key,file.filename=twice.qcow2')
for encrypt in '' 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10,'; do
    qemu_encrypts create -q --object secret,id=key,data=hush -f qcow2 -o "${encrypt}refcount_bits=1,cluster_size=4k" \
        twice.qcow2 1M
    open=(-f qcow2 twice.qcow2)
    [ -z "$encrypt" ] || open=("${luks[@]}")
    qemu_io -c 'write -q -P 1 0 4k' -c 'write -q -P 2 4k 4k' "${open[@]}"
    locate twice.qcow2
    set_l2 twice.qcow2 1 "$(l2_entry twice.qcow2 0)"
    run "$BYRE" check -r all "${open[@]}"
    if [ -n "$encrypt" ]; then
        assert_equal 2 "$CODE" 'exit code of check -r all with LUKS'
        run_ok "$BYRE" amend -o refcount_bits=2 "${open[@]}"
        run "$BYRE" check -r all "${open[@]}"
    fi
    assert_equal 0 "$CODE" "exit code of check -r all ($OUT$ERR)"
    run_ok qemu-img check -q "${open[@]}"
    qemu_io -c 'read -q -P 1 0 8k' "${open[@]}"
done

# Bitmaps for which QEMU opens no image: a table that is too long for the disk, an extension of another length.
qemu-img create -q -f qcow2 -o cluster_size=4k map.qcow2 40M
qemu-img bitmap --add -g 512 map.qcow2 one
data=120
[ "$(get_hex map.qcow2 $((data - 8)) 4)" = 23852875 ] || fail 'the extension is not where it was'
for damage in 'put_be64 bad.qcow2 24 0x100000' "put_be32 bad.qcow2 $((data - 4)) 32"; do
    cp map.qcow2 bad.qcow2
    $damage
    ! qemu-img info bad.qcow2 >info.out 2>&1 || fail 'qemu-img opens it'
    run "$BYRE" check -r all bad.qcow2
    assert_equal 0 "$CODE" "exit code of check -r all after $damage ($OUT$ERR)"
    run "$BYRE" check -r all bad.qcow2
    assert_equal 0 "$CODE" "exit code of a second repair ($OUT$ERR)"
    [[ $OUT != *Repairing* ]] || fail "a second repair finds something: $OUT"
    assert_clean bad.qcow2
    run "$BYRE" io -c 'write -q -P 5 0 4k' -c 'read -q -P 5 0 4k' bad.qcow2
    assert_equal 0 "$CODE" "exit code of a write ($OUT$ERR)"
    assert_clean bad.qcow2
done
