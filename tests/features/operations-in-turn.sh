#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Drawn operations one after the other on images with drawn features, made by byre and by qemu-img: after each of them
# the disk, its snapshots and its bitmaps are what they should be, and neither program finds an error or a leak.
# shellcheck disable=SC2086,SC2031 # words without blanks; numbers drawn again
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/features/features.bash"
. "$TEST_TOP/tests/features/operations.bash"
. "$TEST_TOP/tests/features/amend.bash"
. "$TEST_TOP/tests/features/damage.bash"
. "$TEST_TOP/tests/features/vm_state.bash"

operations=$(compgen -A function op_)
rounds=${TEST_ROUNDS:-8}
[ -z "$TEST_QUICK" ] || rounds=2
choose 1000000
first=${TEST_SEED:-$CHOICE}

for ((round = 0; round < rounds; round++)); do
    RANDOM=$((first + round))
    echo "TEST_SEED=$((first + round))"
    NAMES=0 SHRUNK=
    draw_features
    draw_size
    # what qemu-img preallocates in an encrypted data file reads as noise
    pick byre qemu-img
    [ $DATA$CRYPT != rawluks ] || PICKED=byre
    make_image "$PICKED"
    op_write
    judge
    for ((step = 0; step < 12; step++)); do
        # shellcheck disable=SC2086 # words are what is wanted
        pick $operations op_write op_write op_snapshot_create op_resize
        "$PICKED"
        [ -z "${TEST_KEEP:-}" ] || cp image.qcow2 "$TEST_KEEP/$step.qcow2"
        judge
    done
    judge_snapshot_states
done
echo "tried: $((rounds * 12)) operations on images with drawn features"
