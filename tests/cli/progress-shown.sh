#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Progress: on SIGUSR1 as qemu-img prints it, and by default on terminals only, and only under the own name.
. "$(dirname "$0")/../lib.sh"

text 1 67108864 >big.raw
text 1 1048576 >small.raw
mkdir names
ln -s "$BYRE" names/qemu-img

# The target is made after the signal is blocked, so from then on a signal is answered and does not kill.
"$BYRE" convert -m 1 -c -O qcow2 big.raw x 2>err &
pid=$!
await [ -e x ]
is_signalled_in_vain() {
    ! kill -USR1 "$pid" 2>/dev/null
}
await is_signalled_in_vain
wait "$pid"
assert_match '^    \([0-9]+\.[0-9]{2}/100%\)' "$(head -n 1 err)"
if grep -vE '^    \([0-9]+\.[0-9]{2}/100%\)$' err; then
    fail "something else was printed"
fi
assert_same_disk big.raw x

# on_terminal COMMAND...: what it writes when standard output and error are a terminal.
on_terminal() {
    script -qec "$(printf '%q ' "$@")" /dev/null </dev/null
}

[ "$(on_terminal echo there 2>/dev/null)" = $'there\r' ] || skip 'no pseudo-terminal to be had'
assert_match 'convert: +[0-9.]+ %' "$(on_terminal "$BYRE" convert -m 1 -c -O qcow2 big.raw y)"
assert_match 'compare: +[0-9.]+ %' "$(on_terminal "$BYRE" compare big.raw y)"
assert_equal '' "$(on_terminal "$BYRE" convert -q -O qcow2 small.raw y)"
assert_equal '' "$(on_terminal names/qemu-img convert -O qcow2 small.raw y)"
run_ok "$BYRE" convert -O qcow2 small.raw y # no terminal
assert_equal '' "$OUT"
