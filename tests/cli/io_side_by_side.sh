# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Runs qemu-io and byre under the name qemu-io with the same arguments, each on its own copy of the same images, and
# compares what both say and what is then in the images.  Figures of time are compared in form only.
#
# shellcheck disable=SC2153 # $CODE is of lib.sh

THEIRS=$(command -v qemu-io)
OURS=$TEST_DIR/.names/qemu-io
mkdir "$TEST_DIR/.names" images
ln -s "$BYRE" "$OURS"

normal_figures() {
    sed -E -e 's/ ops; [0-9:.]+( sec)? \([0-9.]+ ([KMGTP]iB|bytes)\/sec and [0-9.]+ ops\/sec\)$/ ops; TIME/' \
        -e 's/^([0-9]+,1),[0-9]+:[0-9]{2}:[0-9]{2}\.[0-9]{2},[0-9.]+,[0-9.]+$/\1,TIME/'
}

# side PROGRAM DIRECTORY ARGUMENT...: in a fresh copy of images/; standard input is the file "input".
side() {
    local program=$1 dir=$2
    shift 2
    rm -rf "$dir"
    cp -r images "$dir"
    CODE=0
    (cd "$dir" && exec timeout 120 "$program" "$@") <input >"$dir.out" 2>"$dir.err" || CODE=$?
    OUT=$(normal_figures <"$dir.out" | tr -d '\0')
    ERR=$(cat "$dir.err")
}

: >input

# same ARGUMENT...: exit code, both outputs, and the contents of all images are the same.  With TEST_QUICK a sample of
# the calls.
same() {
    ! in_sample || same_always "$@"
}

# same_always ARGUMENT...: the same without exception.  $CODE, $OUT and $ERR are then those of byre.
same_always() {
    local code out err image
    side "$THEIRS" theirs "$@"
    code=$CODE out=$OUT err=$ERR
    side "$OURS" ours "$@"
    assert_equal "$out" "$OUT" "standard output of $*"
    assert_equal "$err" "$ERR" "standard error of $*"
    assert_equal "$code" "$CODE" "exit code of $* ($ERR)"
    for image in images/*.qcow2; do
        assert_same_disk -f qcow2 -F qcow2 "theirs/${image#images/}" "ours/${image#images/}"
    done
    for image in images/*.raw; do
        assert_same_file "theirs/${image#images/}" "ours/${image#images/}"
    done
}

# same_code CODE ARGUMENT...: the same, and the exit code is CODE.
same_code() {
    local code=$1
    shift
    same_always "$@"
    assert_equal "$code" "$CODE" "exit code of $*"
}

# same_commands IMAGE: each line of standard input is a command, or several with " ; " between them; a line is a run.
same_commands() {
    local image=$1 line args part
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        args=()
        while [ -n "$line" ]; do
            part=${line%% ; *}
            args+=(-c "$part")
            [ "$part" != "$line" ] || break
            line=${line#"$part ; "}
        done
        same "${args[@]}" "$image"
    done
}
