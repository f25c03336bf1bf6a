# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Runs qemu-img and byre under the name qemu-img with the same arguments, and compares what both say.
#
# Some things are made alike first: qemu-img says "Could not open 'x': Could not open 'x':" where once is enough;
# the findings of a check have no order; and the size on the disk is the file system's affair, which may change it
# at any time; and how often progress is shown depends on the size of the steps.
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

# For objects whose members may stand in any order.
normal_json() {
    perl -MJSON::PP -e 'local $/; my $value = JSON::PP->new->utf8->decode(<STDIN>);
        print JSON::PP->new->ascii->canonical->pretty->encode($value)'
}

# normal_output: what $OUT is once it is made alike.
normal_output() {
    sed -E 's/^disk size: .*/disk size: SOME/; s/"actual-size": [0-9]+/"actual-size": SOME/
        s/^(    \([0-9.]+\/100%\)\r)+/PROGRESS/' <<<"$OUT"
}

# What qemu-img may have made, and byre is not to find; and what is to be done with it before it is removed.
MADE=()
AFTER_THEIRS=:

# same ARGUMENT...: exit code and both outputs are the same.  With TEST_QUICK a sample of the calls.
same() {
    ! in_sample || same_always "$@"
}

# same_always ARGUMENT...: the same without exception.  $CODE, $OUT and $ERR are then those of byre.
same_always() {
    local code out err
    run "$THEIRS" "$@"
    code=$CODE out=$(normal_output) err=$(normal_error "$@")
    "$AFTER_THEIRS"
    rm -f "${MADE[@]}"
    run "$OURS" "$@"
    assert_equal "$code" "$CODE" "exit code of $* ($ERR)"
    assert_equal "$out" "$(normal_output)" "standard output of $*"
    assert_equal "$err" "$(normal_error "$@")" "standard error of $*"
}

# same_fails CODE ARGUMENT...: the same, and the exit code is CODE.
same_fails() {
    local code=$1
    shift
    same_always "$@"
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
    code=$CODE out=$(normal_output) err=$(normal_error "$@")
    cp .before "$file"
    run "$OURS" "$@"
    assert_equal "$code" "$CODE" "exit code of $* ($ERR)"
    assert_equal "$out" "$(normal_output)" "standard output of $*"
    assert_equal "$err" "$(normal_error "$@")" "standard error of $*"
}

# about_image FILE: what qemu-img says of it and, if it can be read and is small, of its contents.
about_image() {
    [ -s "$1" ] || return 0
    "$THEIRS" info --output=json "$1" | sed -E '/"(actual-size|filename)"/d' | tee .about
    if "$THEIRS" info --backing-chain "$1" >.chain 2>&1 && grep -qE '"virtual-size": [0-9]{1,8},' .about; then
        rm -f .contents
        "$THEIRS" convert -O raw "$1" .contents
        md5sum <.contents
    fi
}

keep_theirs() {
    about_image x >.theirs
}

# same_made ARGUMENT...: the same, and the file x that the two make is the same image.  After a failure byre leaves
# none, whatever qemu-img does.  A sample with TEST_QUICK.
same_made() {
    in_sample || return 0
    rm -f x .theirs
    # shellcheck disable=SC2034 # same uses it
    local MADE=(x) AFTER_THEIRS=keep_theirs
    same_always "$@"
    if [ "$CODE" = 0 ]; then
        assert_equal "$(cat .theirs)" "$(about_image x)" "image of $*"
    else
        assert_missing x
    fi
}

# same_table: each line of standard input is the arguments of one command, quoted as in the shell, for same_made.
# Empty lines, and lines that begin with "#", are left out.  $COUNT is how many there were.
same_table() {
    local line
    local -a words
    set -f
    COUNT=0
    while read -r line; do
        case $line in '' | '#'*) continue ;; esac
        eval "words=($line)"
        same_made "${words[@]}"
        COUNT=$((COUNT + 1))
    done
    set +f
}

# What is told of an image by alike, and what is to hold of byre's.
ABOUT=about_image
AFTER_OURS=:

# alike FILE ARGUMENT...: the same texts, and the same image afterwards; it is then put back.  A sample with TEST_QUICK.
alike() {
    in_sample || return 0
    local file=$1 theirs
    shift
    cp "$file" .kept
    "$THEIRS" "$@" >.log 2>&1 </dev/null || true
    theirs=$("$ABOUT" "$file")
    cp .kept "$file"
    same_on_copy "$file" "$@"
    assert_equal "$theirs" "$("$ABOUT" "$file")" "image after $*"
    "$AFTER_OURS" "$file"
    cp .kept "$file"
}
