#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The engine's fuzz target on the checker's seeds, on small images that QEMU wrote, and on drawn damage to them, each with
# drawn changes: those are the last bytes of a file.  The seed is printed; TEST_SEED repeats the
# draws, on images that QEMU writes anew: with other dates, and compressed clusters in another order.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuzz/images.bash"

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
mkdir seeds drawn
run_ok "$TEST_BUILD/fuzz/seeds_check" seeds
make_images
mapfile -t files < <(printf '%s\n' seeds/*)

draw_steps() {
    local i byte
    for ((i = 0; i < 12; i++)); do
        printf -v byte '\\x%02x' $((RANDOM % 256))
        printf %b "$byte"
    done
}

rounds=400
[ -z "$TEST_QUICK" ] || rounds=100
for ((round = 0; round < rounds; round++)); do
    file=drawn/$round
    case $((RANDOM % 4)) in
    0) cp "${files[RANDOM % ${#files[@]}]}" $file ;;
    1) cp "images/$((RANDOM % IMAGES + 1))" $file && damage $file ;;
    *) cp "images/$((RANDOM % IMAGES + 1))" $file ;;
    esac
    draw_steps >>$file
done
replay engine drawn
echo "tried: $((rounds * 12)) steps of the engine's fuzz target"
