#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Any byte of the header and of the tables may be wrong: every verb ends, in time and memory, with one of its
# own exit codes.  The values are drawn; the seed is printed, and TEST_SEED repeats a run.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/bad/bad.bash
. "$TEST_TOP/tests/bad/bad.bash"

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
make_good good.qcow2

# Where the tables of good.qcow2 are: header, refcount table and its first block, L1 and its first L2.
l1=$(get_be64 good.qcow2 40)
reftable=$(get_be64 good.qcow2 48)
l2=$(($(get_be64 good.qcow2 "$l1") & 0x00fffffffffffe00))
block=$(get_be64 good.qcow2 "$reftable")
starts=(0 0 0 "$l1" "$reftable" "$l2" "$block")
lengths=(112 112 112 8 8 512 512)
values=(00 01 02 03 7f 80 fe ff)

# ends CODES COMMAND...: with one of them.
ends() {
    local codes=$1
    shift
    run limited "$BYRE" "$@"
    case " $codes " in
    *" $CODE "*) ;;
    *)
        cp bad.qcow2 "${TMPDIR:-/tmp}/byre-bad-$seed.qcow2"
        show_run "$BYRE" "$@"
        fail "exit code $CODE; TEST_SEED=$seed, the image is ${TMPDIR:-/tmp}/byre-bad-$seed.qcow2"
        ;;
    esac
}

cp good.raw target.raw
rounds=60
[ -z "$TEST_QUICK" ] || rounds=12
for ((round = 0; round < rounds; round++)); do
    cp good.qcow2 bad.qcow2
    for ((change = 0; change <= RANDOM % 3; change++)); do
        where=$((RANDOM % ${#starts[@]}))
        put_bytes bad.qcow2 $((starts[where] + RANDOM % lengths[where])) "${values[RANDOM % ${#values[@]}]}"
    done
    ends '0 1' info bad.qcow2
    ends '0 1 2 3 63' check bad.qcow2
    ends '0 1' map bad.qcow2
    ends '0 1 2 3 4' compare bad.qcow2 good.raw
    # a size that the change made enormous is no reason to write for long
    ends '0 1' convert -n -O raw bad.qcow2 target.raw
    cp bad.qcow2 mended.qcow2
    ends '0 1 2 3 63' check -r all mended.qcow2
done
