#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Bitmaps that byre has written say the same to qemu as those that qemu has written after the same requests, and byre
# makes the same of those that qemu has written.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/stored_bitmap.bash"
slow

# dirty IMAGE BITMAP: the map of the bitmap, as an NBD client of qemu-nbd sees it.
dirty() {
    cp "$1" seen.qcow2
    qemu-img bitmap --disable seen.qcow2 "$2"
    qemu-nbd -r -f qcow2 -B "$2" -k "$TEST_DIR/sock" -t --fork --pid-file pid seen.qcow2
    qemu-img map --output=json --image-opts \
        "driver=nbd,server.type=unix,server.path=$TEST_DIR/sock,x-dirty-bitmap=qemu:dirty-bitmap:$2"
    stop_server
}

stop_server() {
    local pid
    [ -e pid ] || return 0
    pid=$(cat pid)
    rm -f pid
    kill "$pid" || true
    await_end "$pid"
}
clean_up stop_server

# same_bitmap A B BITMAP: what is stored.  seen_alike: what qemu sees.
same_bitmap() {
    stored "$3" "$1" >wanted
    stored "$3" "$2" >found
    assert_same_file wanted found
}
seen_alike() {
    dirty "$1" "$3" >wanted
    dirty "$2" "$3" >found
    assert_same_file wanted found
}

SEED=${BYRE_SEED:-$RANDOM}
echo "seed $SEED"
RANDOM=$SEED

# requests COUNT SIZE CLUSTER: commands of qemu-io.  Discards are of whole clusters: qemu marks what it does not
# discard, too.
requests() {
    local i at length
    echo "write -q -c $3 $3" # qemu compresses no cluster that is there
    echo "write -q -c $(($2 - $3)) $3"
    for ((i = 0; i < $1; i++)); do
        at=$(((RANDOM * 32768 + RANDOM) % ($2 / 512) * 512))
        length=$((((RANDOM * 32768 + RANDOM) % 300 + 1) * 512))
        [ $((at + length)) -le "$2" ] || length=$(($2 - at))
        case $((RANDOM % 5)) in
        0) echo "write -q -z $at $length" ;;
        1) echo "write -q -z -u $at $length" ;;
        2) echo "discard -q $((at / $3 * $3)) $(((length + $3 - 1) / $3 * $3))" ;;
        *) echo "write -q -P $((RANDOM % 256)) $at $length" ;;
        esac
    done
}

# follow CREATE_OPTIONS MIB CLUSTER GRANULARITY...: the same requests by both.
follow() {
    local options=$1 size=$(($2 << 20)) cluster=$3 g command args=()
    shift 3
    qemu-img create -q -f qcow2 -o "$options" theirs.qcow2 "$size"
    for g; do
        qemu-img bitmap --add -g "$g" theirs.qcow2 "b$g"
    done
    qemu-img bitmap --add --disable theirs.qcow2 off
    cp theirs.qcow2 ours.qcow2
    requests 30 "$size" "$cluster" >requests.txt
    while read -r command; do
        args+=(-c "$command")
    done <requests.txt
    run_ok qemu-io "${args[@]}" -d unmap theirs.qcow2
    run_ok "$BYRE" io "${args[@]}" -d unmap ours.qcow2
    assert_clean ours.qcow2
    run_ok "$BYRE" check ours.qcow2
    for g in "$@" off; do
        g=b${g#off}
        [ "$g" != b ] || g=off
        same_bitmap theirs.qcow2 ours.qcow2 "$g"
    done
    seen_alike theirs.qcow2 ours.qcow2 "b$1"
}

follow cluster_size=64k 8 65536 512 2G
follow cluster_size=512 1 512 512 4k
[ -z "$TEST_QUICK" ] || exit 0
follow cluster_size=4k 70 4096 512 64k
follow cluster_size=2M,refcount_bits=1 64 $((2 << 20)) 512 1M

# byre reads what qemu wrote: what comes of merging it is what qemu makes of it; by granule, finer and coarser
qemu-img create -q -f qcow2 -o cluster_size=4k base.qcow2 70M
qemu-img bitmap --add -g 512 base.qcow2 fine
qemu-img bitmap --add -g 1M base.qcow2 coarse
qemu_io -c 'write -q 100k 700k' -c 'write -q 5M 512' -c 'write -q 16M 17M' -c 'write -q 71679k 1k' base.qcow2
for to in 512 64k; do
    for from in fine coarse; do
        cp base.qcow2 theirs.qcow2
        cp base.qcow2 ours.qcow2
        qemu-img bitmap --add --disable --merge $from -g $to theirs.qcow2 result
        run_ok "$BYRE" bitmap --add --disable --merge $from -g $to ours.qcow2 result
        same_bitmap theirs.qcow2 ours.qcow2 result
        # across images, and on top of what is there
        qemu-img create -q -f qcow2 theirs.qcow2 70M
        qemu-img bitmap --add -g $to theirs.qcow2 result
        qemu_io -c 'write -q 1k 5k' -c 'write -q 30M 1M' theirs.qcow2
        cp theirs.qcow2 ours.qcow2
        qemu-img bitmap --merge $from -b base.qcow2 -F qcow2 theirs.qcow2 result
        run_ok "$BYRE" bitmap --merge $from -b base.qcow2 -F qcow2 ours.qcow2 result
        same_bitmap theirs.qcow2 ours.qcow2 result
        assert_clean ours.qcow2
    done
    seen_alike theirs.qcow2 ours.qcow2 result
done

# clear and remove; what is left is the same
run_ok "$BYRE" bitmap --clear ours.qcow2 result
qemu-img bitmap --clear theirs.qcow2 result
same_bitmap theirs.qcow2 ours.qcow2 result
run_ok "$BYRE" bitmap --remove ours.qcow2 result
assert_clean ours.qcow2

# a grown disk: old bits stay, new ones are clean
for size in 300k 5M; do
    qemu-img create -q -f qcow2 -o cluster_size=512 theirs.qcow2 100k
    qemu-img bitmap --add -g 512 theirs.qcow2 fine
    qemu-img bitmap --add -g 64k --disable theirs.qcow2 off
    qemu_io -c 'write -q 0 90k' -c 'write -q 99k 1k' theirs.qcow2
    cp theirs.qcow2 ours.qcow2
    qemu-img resize -q theirs.qcow2 $size
    run_ok "$BYRE" io -c "truncate $size" ours.qcow2
    same_bitmap theirs.qcow2 ours.qcow2 fine
    same_bitmap theirs.qcow2 ours.qcow2 off
    assert_clean ours.qcow2
done
