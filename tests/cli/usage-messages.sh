#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Mistakes on the command line are answered as qemu-img answers them.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"

truncate -s 64K a
truncate -s 64K b

same_fails 1
same_fails 1 bogus
same_fails 1 --bogus
same_fails 1 -Z
for verb in create info check map convert compare; do
    same_fails 1 "$verb"
    same_fails 1 "$verb" --bogus
    same_fails 1 "$verb" -Z a
    same_fails 1 "$verb" -f
done
for verb in info check map; do
    same_fails 1 "$verb" a b
    same_fails 1 "$verb" --output
    same_fails 1 "$verb" --output=xml a
    same_fails 1 "$verb" nofile
    same_fails 1 "$verb" -f nope a
done
same_fails 1 create -qZ x
same_fails 1 create -qf
same_fails 1 create --help=foo
same_fails 1 compare a
same_fails 1 compare a b c
same_fails 1 convert a
same_fails 1 check -r foo a
same_fails 1 check -T foo a
same_fails 2 compare -T foo a b
same_fails 1 convert -T foo a b

# in its own name, and its own help
run_fails 1 "^byre: Command not found: bogus.Try 'byre --help' for more information\$" "$BYRE" bogus
run_fails 1 "^byre: Could not open 'nofile': No such file or directory\$" "$BYRE" info nofile
run_ok "$BYRE" --help
assert_match 'usage: byre ' "$OUT"
for verb in create info check io map convert compare recover; do
    assert_match "  $verb " "$OUT"
done
for verb in create info check io map convert compare recover; do
    for option in "$verb --help" "$verb -h" "help $verb"; do
        # shellcheck disable=SC2086 # two words
        run_ok "$BYRE" $option
        assert_match "usage: byre $verb " "$OUT"
        assert_match '-h, --help ' "$OUT"
    done
done
run_ok "$BYRE" --version
assert_match '^byre version [0-9]' "$OUT"
run_ok "$OURS" -V
assert_match '^qemu-img version 7\.[0-9.]+ \(byre [0-9.]+\)$' "$OUT"

# refused by name
run_fails 1 "^byre: Invalid cache option: sometimes\$" "$BYRE" convert -t sometimes a b2
run_fails 1 "^byre: option '-T' is not supported\$" "$BYRE" -T x info a
assert_missing b2

# nothing is lost in silence
if [ -c /dev/full ]; then
    CODE=0
    "$BYRE" --help >/dev/full 2>err || CODE=$?
    assert_equal 1 "$CODE"
    assert_match 'cannot write to standard output' "$(cat err)"
fi
