#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every option has an entry in the manual page of its command, and a test that uses it.
. "$(dirname "$0")/../lib.sh"

# documented VERB OPTION [NAME]: an .It line of the page has the option; NAME is a name for -o.
documented() {
    local page=$TEST_TOP/man/byre-$1.1 pattern
    case $1 in
    serve) page=$TEST_TOP/man/byre-nbd.1 ;;
    umount) page=$TEST_TOP/man/byre-mount.1 ;;
    esac
    if [ $# = 3 ]; then
        if [ "$1" = convert ]; then
            pattern="^\\.Cm $3( ,|\$)"
        else
            pattern="^\\.It Cm $3( |\$)"
        fi
    else
        # "-f" is written "Fl f", "--format" is "Fl -format"
        pattern="^\\.It (.* )?Fl ${2#-}( |\$)"
    fi
    grep -qE -- "$pattern" "$page"
}

# tested VERB OPTION [NAME]: some test has this option on a line that runs the verb: by its name, as one of a list
# of verbs, or through a helper of the verb's own tests.
tested() {
    local word="${*: -1}"
    [ -e "lines.$1" ] || lines_of "$1" >"lines.$1"
    grep -qE -- "[ ,\"'\$]$word([ =,\"')]|\$)" "lines.$1"
}

lines_of() {
    local all=("$TEST_TOP"/tests/*/*.sh) own=("$TEST_TOP"/tests/{cli,nbd,fuse}/"$1"-*.sh)
    whole_lines "${all[@]}" | grep -E -- "(^|[ \"])($1|\\\$verb\"?) " || true
    whole_lines "${own[@]}" | grep -E '^ *(for options?|refused|converted|same_code|start_server|start_tcp|is_refused) ' || true
    if [ "$1" = serve ]; then
        whole_lines "$TEST_TOP"/tests/nbd/*.sh | grep -E "(start_server|start_tcp|\"\\\$SERVER\"|same|same_code|refused|is_refused) " || true
    fi
    if [[ $1 = *mount ]]; then
        whole_lines "$TEST_TOP"/tests/fuse/*.sh | grep -E "(mount_image|\"\\\$(U|)MOUNT\") " || true
    fi
}

# A line that ends with a backslash goes on in the next one.
whole_lines() {
    cat "$@" | sed ':a; /\\$/ { N; s/\\\n//; ba }'
}

"$BYRE" __options >options
"$BYRE-nbd" __options >>options
if has FUSE3; then
    "$BYRE-mount" __options >>options
    "$BYRE-umount" __options >>options
fi
while read -r -a words; do
    documented "${words[@]}" || fail "no manual entry: ${words[*]}"
    tested "${words[@]}" || fail "no test: ${words[*]}"
done <options
