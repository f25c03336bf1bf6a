# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What the tests of this directory share: every verb on a bad image, held against qemu-img.

# Where the address space is limited, an allocation out of proportion fails.  The sanitizers need all of it.
limited() {
    if [ -z "${ASAN_OPTIONS:-}" ]; then
        # shellcheck disable=SC2016 # the inner shell expands
        bounded bash -c 'ulimit -v 1000000; exec "$@"' limited "$@"
    else
        bounded "$@"
    fi
}

# make_good FILE: a small qcow2 image with something in it, and good.raw, what it holds.
make_good() {
    qemu-img create -q -f qcow2 -o cluster_size=4k "$1" 1M
    noise 1 300000 >noise.bin
    truncate -s 409600 noise.bin
    qemu_io -f qcow2 -c 'write -q -s noise.bin 0 400K' -c 'write -q -P 3 700K 4K' "$1"
    qemu-img convert -O raw "$1" good.raw
}

# is_one_line: what the last run complained of is one line, or two where the second is advice.
is_one_line() {
    local lines
    lines=$(grep -c '' <<<"$ERR")
    [ -n "$ERR" ] && [ "$lines" -le 2 ]
}

# every_verb_refuses REGEX IMAGE [OPTION...]: each verb that opens IMAGE fails with its code for that, and says
# one line that names the image and matches REGEX.  Nothing is left of what convert was to make.
every_verb_refuses() {
    local regex=$1 image=$2
    shift 2
    verb_refuses 1 "$regex" "$image" info "$@" "$image"
    verb_refuses 1 "$regex" "$image" check "$@" "$image"
    verb_refuses 1 "$regex" "$image" map "$@" "$image"
    verb_refuses 1 "$regex" "$image" convert "$@" -O qcow2 "$image" out.qcow2
    assert_missing out.qcow2
    verb_refuses 1 "$regex" "$image" convert "$@" -O raw "$image" out.raw
    assert_missing out.raw
    verb_refuses 2 "$regex" "$image" compare "$@" "$image" good.raw
}

# verb_refuses CODE REGEX IMAGE VERB ARGUMENT...
verb_refuses() {
    local wanted=$1 regex=$2 image=$3
    shift 3
    run limited "$BYRE" "$@"
    if [ "$CODE" != "$wanted" ] || ! [[ $ERR =~ $regex ]] || [[ $ERR != *"$image"* ]] || ! is_one_line; then
        show_run "$BYRE" "$@"
        fail "this was to exit with code $wanted and to say one line that names $image and matches: $regex"
    fi
}

# same_code VERB ARGUMENT...: byre and qemu-img exit with the same code, byre in bounds.
same_code() {
    local wanted=0
    bounded qemu-img "$@" >/dev/null 2>&1 </dev/null || wanted=$?
    rm -f out.raw out.qcow2
    run limited "$BYRE" "$@"
    if [ "$CODE" != "$wanted" ]; then
        show_run "$BYRE" "$@"
        fail "qemu-img exits with code $wanted here"
    fi
    rm -f out.raw out.qcow2
}
