# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Runs qemu-img and byre under the name qemu-img with the same arguments, and compares what both say.
#
# Some things are made alike first: qemu-img says "Could not open 'x': Could not open 'x':" where once is enough;
# the findings of a check and the members of a JSON object have no order; and the size on the disk is the file
# system's affair, which may change it at any time.
#
# shellcheck disable=SC2153 # $CODE is of lib.sh

THEIRS=$(command -v qemu-img)
OURS=$TEST_DIR/.names/qemu-img
mkdir "$TEST_DIR/.names"
ln -s "$BYRE" "$OURS"

# normal_error ARGUMENT...: what $ERR is once it is made alike.
normal_error() {
    if [ "${1:-}" = check ]; then
        sort <<<"$ERR"
    else
        echo "$ERR"
    fi | sed -E "s/(Could not open '[^']*': )\1/\1/"
}

normal_json() {
    perl -MJSON::PP -e 'local $/; my $value = JSON::PP->new->utf8->decode(<STDIN>);
        print JSON::PP->new->ascii->canonical->pretty->encode($value)'
}

# normal_output ARGUMENT...: what $OUT is once it is made alike.
normal_output() {
    if [[ " $* " =~ --output[=\ ]json ]] && [ -n "$OUT" ]; then
        normal_json <<<"$OUT" | sed -E 's/"actual-size" : [0-9]+/"actual-size" : SOME/'
    else
        sed -E 's/^disk size: .*/disk size: SOME/' <<<"$OUT"
    fi
}

# What qemu-img may have made, and byre is not to find.
MADE=()

# same ARGUMENT...: exit code and both outputs are the same.  $CODE, $OUT and $ERR are then those of byre.
same() {
    local code out err
    run "$THEIRS" "$@"
    code=$CODE out=$(normal_output "$@") err=$(normal_error "$@")
    rm -f "${MADE[@]}"
    run "$OURS" "$@"
    assert_equal "$code" "$CODE" "exit code of $* ($ERR)"
    assert_equal "$out" "$(normal_output "$@")" "standard output of $*"
    assert_equal "$err" "$(normal_error "$@")" "standard error of $*"
}

# same_fails CODE ARGUMENT...: the same, and the exit code is CODE.
same_fails() {
    local code=$1
    shift
    same "$@"
    assert_equal "$code" "$CODE" "exit code of $*"
}

# same_ok ARGUMENT...: the same, and the exit code is 0.
same_ok() {
    same_fails 0 "$@"
}

# same_on_copy FILE ARGUMENT...: for commands that change FILE: each program gets it as it was.
same_on_copy() {
    local file=$1 code out err
    shift
    cp "$file" .before
    run "$THEIRS" "$@"
    code=$CODE out=$(normal_output "$@") err=$(normal_error "$@")
    cp .before "$file"
    run "$OURS" "$@"
    assert_equal "$code" "$CODE" "exit code of $* ($ERR)"
    assert_equal "$out" "$(normal_output "$@")" "standard output of $*"
    assert_equal "$err" "$(normal_error "$@")" "standard error of $*"
}
