#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that has no file descriptor for a client, and no client that could give one back, tries again.
# shellcheck disable=SC2119 # the signal is for others
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo prlimit

qemu-img create -q -f qcow2 image.qcow2 1M
start_server -t -e 0 image.qcow2
pid=$(cat pid)
limit=$(prlimit --pid "$pid" --nofile --noheadings --output SOFT)
run_ok prlimit --pid "$pid" --nofile=4:
perl "$TEST_TOP/tests/nbd/rude.pl" socket patient >patient.out 2>&1 7>&- &
client=$!
await_text unheard patient.out
run_ok prlimit --pid "$pid" --nofile="${limit// /}:"
wait $client || fail "$(cat patient.out)"
run_ok nbdinfo --size "$URI"
stop_server
