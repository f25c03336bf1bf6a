#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Names in messages, of strangers' images and of the command line: they do nothing to a terminal.
. "$(dirname "$0")/../lib.sh"

says() { # TEXT COMMAND...
    local text=$1
    shift
    run "$@"
    assert_equal 1 "$CODE" "exit code of $*"
    assert_equal "byre: $text" "$ERR" "what $* says"
}
missing='No such file or directory'
says "Could not open 'evil\033[31m\a\r': $missing" "$BYRE" info $'evil\033[31m\a\r'
# what is meant stays: UTF-8, backslashes, and a message of two lines
says "Could not open 'caf"$'\303\251'" \\x': $missing" "$BYRE" info $'caf\303\251 \\x'
qemu-img create -q -f qcow2 plain.qcow2 1M
says $'Cannot amend the backing file\nYou can use \'qemu-img rebase\' instead.' \
    "$BYRE" amend -o backing_file=other plain.qcow2
# no UTF-8; and a mark that turns the direction of writing
says "Could not open 'latin\\351 \\342\\200\\256': $missing" "$BYRE" info $'latin\351 \342\200\256'

# of an image: the name of its backing file
qemu-img create -q -f qcow2 -u -b $'evil\033[31m' -F raw over.qcow2 1M
says "Could not open 'over.qcow2': Could not open backing file: Could not open 'evil\033[31m': $missing" \
    "$BYRE" convert -O raw over.qcow2 out.raw
