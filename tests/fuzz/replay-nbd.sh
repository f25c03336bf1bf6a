#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The NBD server's fuzz target on its seeds, and on each of them cut short.
. "$(dirname "$0")/../lib.sh"
slow

mkdir seeds
run_ok "$TEST_BUILD/fuzz/seeds_nbd" seeds
[ "$(find seeds -type f | wc -l)" -gt 1000 ] || fail 'there are hardly any seeds'
run_ok bounded "$TEST_BUILD/fuzz/replay_nbd" --cut seeds
assert_match 'replayed [0-9]{4,} inputs' "$OUT"
