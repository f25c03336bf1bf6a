#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The header codec's fuzz target on its seeds, and on each of them cut short.
. "$(dirname "$0")/../lib.sh"

mkdir seeds cut
run_ok "$TEST_BUILD/fuzz/seeds_header" seeds
[ "$(find seeds -type f | wc -l)" -gt 50 ] || fail 'there are hardly any seeds'
run_ok "$TEST_BUILD/fuzz/replay_header" seeds
count=0
for seed in seeds/*; do
    count=$((count + 1))
    size=$(file_size "$seed")
    head -c $((count * 7919 % (size + 1))) "$seed" >"cut/$count"
done
run_ok "$TEST_BUILD/fuzz/replay_header" cut
