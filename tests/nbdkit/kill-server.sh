#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is killed while clients write: what was flushed before is there, and the image has no errors (leaks may be).
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbdkit/nbdkit.sh"
slow

# changed FILE COUNT PROCESS: waits until it was seen to change so often, or the process has ended.
changed() {
    local seen=0 last now
    last=$(stat -c %y "$1")
    while [ "$seen" -lt "$2" ] && kill -0 "$3" 2>/dev/null; do
        now=$(stat -c %y "$1")
        [ "$now" = "$last" ] || seen=$((seen + 1))
        last=$now
    done
}

noise 1 16777216 >load.raw
for options in cluster_size=64k cluster_size=4k,lazy_refcounts=on extended_l2=on,cluster_size=64k; do
    "$BYRE" create -q -f qcow2 -o $options image.qcow2 80M
    expected=()
    for round in 1 2 3; do
        serve killed "$PLUGIN" image.qcow2
        at=$((round * 5000 + 7))k
        expected+=(-c "read -q -P $round $at 300k")
        # the client of "unsafe" does not flush: it is the other connection's flush that makes all durable, or FUA
        qemu_io -t unsafe -f raw -c "write -q -P $round $at 300k" "$URI"
        qemu_io -f raw -c flush "$URI"
        target=driver=raw,offset=$((round * 16 + 4))M,size=16M,file.driver=nbd,file.server.type=unix
        qemu-img convert -n -W -m 8 -f raw --target-image-opts load.raw \
            "$target,file.server.path=$PWD/killed.sock" >load.log 2>&1 &
        load=$!
        changed image.qcow2 $((round * 2)) "$load"
        kill -KILL "$SERVER"
        { wait "$SERVER" "$load" || true; } 2>/dev/null
        run "$BYRE" check -f qcow2 image.qcow2
        [[ $CODE = [03] ]] || fail "byre check exits with $CODE: $OUT$ERR"
    done
    serve killed "$PLUGIN" image.qcow2
    expected+=(-c 'read -q -P 9 77M 100k')
    mkfifo commands # for a client that is there until the end, for it flushes then
    : >says
    qemu-io -t unsafe -f raw "$URI" <commands >says 2>&1 &
    client=$!
    exec 7>commands
    echo 'write -f -P 9 77M 100k' >&7
    await_text 'wrote 102400' says
    kill -KILL "$SERVER"
    exec 7>&-
    { wait "$SERVER" "$client" || true; } 2>/dev/null
    rm commands
    serve again "$PLUGIN" image.qcow2
    stop again
    run "$BYRE" check -q -r all image.qcow2
    assert_equal 0 "$CODE" 'the exit code of check -r'
    qemu_io -r -f qcow2 "${expected[@]}" image.qcow2
    assert_clean image.qcow2
done
