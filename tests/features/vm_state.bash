# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2086,SC2034,SC2154,SC2004 # words without blanks; drawn numbers
# The state of a virtual machine, which lies behind the disk of an image with drawn features: see features.bash.
#
# VM_STATE is what the image holds of it now, "PATTERN LENGTH", or empty where that is not known; NAME.state is what the
# snapshot NAME holds.  STATES: there was some once; a disk with one that qemu-img makes smaller leaks it.

op_vm_state() {
    local io="$BYRE io"
    # with a data file there are no snapshots that would keep it
    [ $DATA = none ] || return 0
    ! one_in 4 || io=qemu-io
    choose 400
    STATES=yes VM_STATE="$((RANDOM % 255 + 1)) $(((CHOICE + 1) * 512))"
    say "$io write -b -P $VM_STATE"
    # shellcheck disable=SC2086 # two words
    run_ok $io "${PASSWORD[@]}" -c "write -q -b -P ${VM_STATE% *} 0 ${VM_STATE#* }" --image-opts "$IMAGE"
    assert_equal '' "$OUT" 'what io says'
}

# judge_vm_state STATE ACCESS-OPTIONS: by both programs.
judge_vm_state() {
    local io
    [ "$1" ] || return 0
    for io in "$BYRE io" qemu-io; do
        # shellcheck disable=SC2086 # two words
        run_ok $io -r "${PASSWORD[@]}" -c "read -q -b -P ${1% *} 0 ${1#* }" --image-opts "$2"
        assert_equal '' "$OUT" "what ${io##*/} finds in the VM state"
    done
}

# Those of the snapshots, which show when the snapshots are applied.
judge_snapshot_states() {
    local name copy bitmap
    for name in "${SNAPSHOTS[@]}"; do
        [ -s "$name.state" ] || continue
        cp image.qcow2 copy.qcow2
        copy=$(access copy.qcow2 $KEY)
        for bitmap in "${BITMAPS[@]}"; do
            run_ok "$BYRE" bitmap --remove "${PASSWORD[@]}" --image-opts "$copy" "$bitmap"
        done
        run_ok "$BYRE" snapshot -a "$name" "${PASSWORD[@]}" --image-opts "$copy"
        judge_vm_state "$(cat "$name.state")" "$copy"
    done
}
