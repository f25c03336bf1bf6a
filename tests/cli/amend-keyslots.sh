#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# amend: key slots of LUKS files and of qcow2 images, side by side with qemu-img.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

qemu-img create -q -f qcow2 x.qcow2 4M
# shellcheck disable=SC2054 # the commas are QEMU's
secrets=(--object secret,id=s,data=abc --object secret,id=n,data=new)
"$BYRE" create -q "${secrets[@]}" -f luks -o 'key-secret=s,iter-time=1' luks.img 1M
"$BYRE" create -q "${secrets[@]}" -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 luks.qcow2 1M
for options in 'encrypt.state=inactive,encrypt.keyslot=1,encrypt.iter-time=1' \
    'encrypt.old-secret=s,encrypt.new-secret=n' 'state=inactive,keyslot=1' 'iter-time=1,old-secret=s,new-secret=n'; do
    run_fails 1 "encryption not present|Invalid parameter" "$BYRE" amend --object secret,id=s,data=abc -o "$options" x.qcow2
done
opens() { # opens qcow2|luks SECRET
    local key=key-secret file=luks.img
    [ "$1" = luks ] || key=encrypt.key-secret file=luks.qcow2
    qemu-io "${secrets[@]}" --image-opts "driver=$1,$key=$2,file.filename=$file" -c 'read 0 512' >.log 2>&1
}
for format in qcow2 luks; do
    prefix=encrypt.
    file=luks.qcow2
    [ $format = qcow2 ] || prefix='' file=luks.img
    with_s=driver=$format,${prefix}key-secret=s,file.filename=$file
    with_n=${with_s/-secret=s/-secret=n}
    while read -r secret words; do
        which=with_$secret
        options=
        for word in $words; do options+=,$prefix$word; done
        same_on_copy $file amend "${secrets[@]}" -o "${options#,}" --image-opts "${!which}"
    done <<'END'
s new-secret=n
s state=some
s state=active
s state=inactive
s state=inactive keyslot=9
s state=inactive keyslot=3
s state=inactive old-secret=s
s state=inactive old-secret=n
s state=inactive old-secret=s new-secret=n
s state=active new-secret=n keyslot=0
s state=active new-secret=nobody
n state=inactive keyslot=0
END
    cp $file .before
    opens $format s
    ! opens $format n || fail "the new password opens $format already"
    run_ok "$BYRE" amend "${secrets[@]}" --image-opts "$with_s" \
        -o "${prefix}state=active,${prefix}new-secret=n,${prefix}keyslot=3,${prefix}iter-time=1"
    opens $format n
    opens $format s
    run_ok "$BYRE" amend "${secrets[@]}" -o "${prefix}state=inactive,${prefix}old-secret=s" --image-opts "$with_n"
    ! opens $format s || fail "the old password still opens $format"
    opens $format n
    run_fails 1 refusing "$BYRE" amend "${secrets[@]}" -o "${prefix}state=inactive,${prefix}old-secret=n" \
        --image-opts "$with_n"
    run_ok "$BYRE" amend --force "${secrets[@]}" -o "${prefix}state=inactive,${prefix}old-secret=n" \
        --image-opts "$with_n"
    ! opens $format n || fail "$format has a password left"
done
