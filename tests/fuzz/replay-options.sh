#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The option tree's fuzz target on its seeds, and on each of them cut short.
. "$(dirname "$0")/../lib.sh"

mkdir seeds
run_ok "$TEST_BUILD/fuzz/seeds_options" seeds
[ "$(find seeds -type f | wc -l)" -gt 50 ] || fail 'there are hardly any seeds'
run_ok "$TEST_BUILD/fuzz/replay_options" --cut seeds
assert_match 'replayed [0-9]{3,} inputs' "$OUT"
