#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# bench: the same texts and exit codes as qemu-img bench, times apart; what it writes is where it should be, and its
# options do what they say.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/cli/side_by_side.sh
. "$TEST_TOP/tests/cli/side_by_side.sh"

normal_output() {
    sed -E 's/^Run completed in [0-9.]+ seconds\./Run completed./' <<<"$OUT"
}

qemu-img create -q -f qcow2 disk.qcow2 64M
qemu-img create -q -f raw disk.raw 4M

same bench -f qcow2 -c 1000 disk.qcow2
same bench -c 1000 -d 4 -s 8192 -S 1000 -o 4096 -w --pattern 66 disk.qcow2
same bench -c 1000 -w --flush-interval 100 disk.qcow2
same bench -c 1000 -w --flush-interval=100 --no-drain disk.qcow2
same bench -c 0 disk.qcow2
same bench -s 64k -c 100 disk.raw
same bench -f raw -t none -i threads -c 100 disk.raw
same bench -n -t none -c 100 disk.raw
same bench -i io_uring -c 100 disk.qcow2
same bench -U -c 2 disk.qcow2
same bench --force-share -c 2 disk.qcow2
for options in '-c x' '-c -1' '-d x' '-i none' '-o x' '-s 3G' '-s x' '-S x' '--flush-interval x' '-w --pattern 256' \
    '--flush-interval 100' '-w --flush-interval 10' '-f raw missing'; do
    # shellcheck disable=SC2086
    same_fails 1 bench $options disk.qcow2
done
same_fails 1 bench
same_fails 1 bench disk.raw disk.qcow2

# every request of the run is written, with the byte that was asked for, and nothing else
run_ok "$BYRE" create -q -f qcow2 new.qcow2 1M
run "$BYRE" bench -w -c 3 -s 4096 -S 65536 -o 8192 --pattern 0xab new.qcow2
assert_match '^Sending 3 write requests' "$OUT"
truncate -s 1M wanted.raw
for goff in 8192 73728 139264; do
    head -c 4096 /dev/zero | tr '\0' '\253' | put_file wanted.raw $goff
done
assert_same_disk -f raw -F qcow2 wanted.raw new.qcow2
assert_clean new.qcow2

# the warm-up starts at the same place, and has the whole length
run_ok "$BYRE" create -q -f qcow2 warm.qcow2 1M
run "$BYRE" bench -w --warm-up=3 -c 2 -s 4096 -S 65536 -o 8192 --pattern 0xab warm.qcow2
assert_match 'Warm-up completed in [0-9.]+ seconds' "$OUT"
assert_match 'Run completed in [0-9.]+ seconds' "$OUT"
assert_same_disk -f raw -F qcow2 wanted.raw warm.qcow2
run "$BYRE" bench -w --warm-up 1 -c 0 -s 4096 -o 200k --pattern 1 warm.qcow2
run "$BYRE" compare -f raw -F qcow2 wanted.raw warm.qcow2
assert_match 'Content mismatch at offset 204800' "$OUT"
run_fails 1 'Invalid warm-up count' "$BYRE" bench --warm-up -1 warm.qcow2
run "$BYRE" bench -c 1 new.qcow2
[[ $OUT != *Warm-up* ]] || fail 'a warm-up that nobody asked for'

# requests go to the same places as those of qemu-img, around the end of the disk, too
for options in '-c 3 -S 512k' '-c 2 -o 1044480' '-c 9 -S 600000' '-c 4 -s 64k -S 700000' '-c 3 -s 1M -S 0'; do
    for program in "$BYRE" qemu-img; do
        qemu-img create -q -f qcow2 "${program##*/}.qcow2" 1M
        # shellcheck disable=SC2086
        run_ok "$program" bench -q -w --pattern 7 -d 1 $options "${program##*/}.qcow2"
    done
    qemu-img compare -q byre.qcow2 qemu-img.qcow2 || fail "not the same places: $options"
done
for options in '-c 3 -S 1047576' '-c 1 -o 1047576' '-c 1 -o 1M'; do
    # shellcheck disable=SC2086
    run_fails 1 'Failed request' qemu-img bench $options -f qcow2 new.qcow2
    # shellcheck disable=SC2086
    run_fails 1 'Failed request: .* pass the end of the disk' "$BYRE" bench $options -f qcow2 new.qcow2
done

run_ok "$BYRE" bench -q -c 10 new.qcow2
run_fails 1 'Invalid queue depth specified: 0 is not' "$BYRE" bench -d 0 new.qcow2
run_fails 1 'Invalid queue depth specified: 65537 is not' "$BYRE" bench -d 65537 new.qcow2
run_fails 1 'pass the end of the disk' "$BYRE" bench -c 1 -o 1M new.qcow2
run_fails 1 'a request of 2097152 bytes does not fit a disk of 1048576 bytes' "$BYRE" bench -s 2M -c 1 new.qcow2
run_fails 1 'force-share=on can only be used with read-only images' "$BYRE" bench -U -w -c 1 new.qcow2
run_fails 1 "requires cache.direct=on" "$BYRE" bench -i native -c 1 new.qcow2
run_fails 1 "not supported" "$BYRE" bench --image-opts -c 1 driver=qcow2
