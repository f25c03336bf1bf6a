#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The checker's fuzz target on its seeds, on small images that QEMU wrote, and on drawn damage to them.  The seed is printed;
# TEST_SEED repeats a run.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuzz/images.bash"

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
mkdir seeds damaged
run_ok "$TEST_BUILD/fuzz/seeds_check" seeds
run_ok "$TEST_BUILD/fuzz/replay_check" seeds
make_images
replay check images

rounds=100
[ -z "$TEST_QUICK" ] || rounds=25
for ((round = 0; round < rounds; round++)); do
    cp "images/$((RANDOM % IMAGES + 1))" damaged/$round
    damage damaged/$round
done
replay check damaged
