#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Names in images that are no paths: followed if the user, or the name of the program, allows it.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

truncate -s 1M base.raw
text 1 100K | put_file base.raw 64K
refusal="Could not open '.*': backing files can only be named by a path
Use --allow-backing=protocol if you trust the image\."

for name in 'json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}}' blkdebug::base.raw; do
    rm -f top.qcow2
    same_ok create -f qcow2 -b "$name" -F raw top.qcow2
    run_fails 1 "$refusal" "$BYRE" map top.qcow2
    run_fails 2 "$refusal" "$BYRE" compare top.qcow2 base.raw
    run_fails 1 "$refusal" "$BYRE" convert top.qcow2 out.raw
    assert_missing out.raw
    run_fails 1 "$refusal" "$BYRE" info --backing-chain top.qcow2
    run "$BYRE" create -f qcow2 -b top.qcow2 -F qcow2 over.qcow2
    assert_equal 1 "$CODE"
    assert_match "$refusal" "$ERR"
    assert_missing over.qcow2
    run_fails 1 "$refusal" "$BYRE" io -s -c length top.qcow2
    # Who says that there is nothing below, or something else, does not follow the name, with an overlay either.
    for snapshot in '' -s; do
        run_ok "$BYRE" io -c 'read -P 0 0 1M' $snapshot --image-opts driver=qcow2,file.filename=top.qcow2,backing=
        run_ok "$BYRE" io -c 'read -P 0 0 1M' $snapshot --image-opts \
            driver=qcow2,file.filename=top.qcow2,backing.driver=null-co,backing.read-zeroes=on
    done
    # Neither opens what the image names.
    run_ok "$BYRE" info top.qcow2
    run_ok "$BYRE" check top.qcow2

    run_ok "$BYRE" map --allow-backing=protocol top.qcow2
    run_ok "$BYRE" compare --allow-backing=protocol top.qcow2 base.raw
    run_ok "$BYRE" convert --allow-backing=protocol top.qcow2 out.raw
    assert_same_file out.raw base.raw
    run_ok "$BYRE" info --backing-chain --allow-backing=protocol top.qcow2
    run_ok "$BYRE" create -q -f qcow2 --allow-backing=protocol -b top.qcow2 -F qcow2 over.qcow2
    rm -f out.raw over.qcow2

    same_ok map top.qcow2
    same_ok info --backing-chain top.qcow2
    same_ok compare -f qcow2 -F raw top.qcow2 base.raw
done

# A name that only byre knows is not for images.
qemu-img create -q -u -f qcow2 -b image-opts:file.filename=base.raw -F raw own.qcow2 1M
run_fails 1 "Unknown protocol 'image-opts'" "$BYRE" map --allow-backing=protocol own.qcow2
run_fails 1 "^byre: Could not open 'image-opts:.*': Unknown protocol 'image-opts'\$" \
    "$BYRE" info --backing-chain --allow-backing=protocol own.qcow2

# A path next to an image in a directory that looks like options is a path.
mkdir image-opts:driver=null-co,x=
qemu-img create -q -u -f qcow2 -b base.raw -F raw ./image-opts:driver=null-co,x=/top.qcow2 1M
cp base.raw ./image-opts:driver=null-co,x=/
name='json:{"driver":"qcow2","file":{"driver":"file","filename":"image-opts:driver=null-co,x=/top.qcow2"}}'
run_ok "$BYRE" compare -F raw "$name" base.raw
run_ok "$BYRE" info --backing-chain "$name"

# Chains end.
qemu-img create -q -u -f qcow2 -b 'json:{"file":{"driver":"file","filename":"loop.qcow2"}}' -F qcow2 loop.qcow2 1M
run_fails 1 'infinite loop' "$BYRE" map --allow-backing=protocol loop.qcow2
run_fails 1 'infinite loop' "$BYRE" info --backing-chain --allow-backing=protocol loop.qcow2

for verb in info map; do
    run_fails 1 '^byre: --allow-backing must be used with protocol as argument\.$' \
        "$BYRE" "$verb" --allow-backing=all base.raw
done
