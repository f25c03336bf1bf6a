#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The checker's fuzz target on its seeds, on small images that QEMU wrote, and on drawn damage to them.  The seed is printed;
# TEST_SEED repeats a run.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuzz/images.bash"

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
mkdir seeds
run_ok "$TEST_BUILD/fuzz/seeds_check" seeds
run_ok "$TEST_BUILD/fuzz/replay_check" seeds
make_images
replay check images

replay_damaged check
