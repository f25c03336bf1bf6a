#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre cp: what a signal leaves behind, from a server that takes its time.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/file_tree.sh"

has EXT2FS || skip 'built without libext2fs'
has LIBNBD || skip 'built without libnbd'
. "$TEST_TOP/tests/nbd/client.bash"

mkdir tree out
noise 1 3000000 >piece
cat piece piece piece piece piece piece piece piece >tree/large
truncate -s 40M disk.raw
put_ext disk.raw 0 40M tree
serve_nbdkit slow --filter=delay file disk.raw delay-read=30ms

there_is() {
    compgen -G "$1" >/dev/null
}

# Waits for the file that is being copied, and ends the copying by a signal.
end_copying() { # SIGNAL PATTERN
    local code=0
    # a shell's background jobs ignore INT and QUIT
    env --default-signal=INT,QUIT,PIPE "$BYRE" cp -r -f raw "$(uri slow)" large out 2>says &
    local pid=$!
    await there_is "$2" || fail "byre cp: $(cat says)"
    kill -"$1" $pid
    wait $pid 2>/dev/null || code=$?
    assert_equal "$1" "$(kill -l $code)" 'how it ended'
    assert_equal '' "$(cat says)" 'what it said'
}
for signal in INT TERM HUP QUIT PIPE; do
    end_copying $signal 'out/*'
    assert_equal '' "$(ls -A out)" 'what is left behind'
    echo before >out/large
    end_copying $signal 'out/.byre-*'
    assert_equal large "$(ls -A out)" 'what is left behind'
    assert_equal before "$(cat out/large)" 'what was there'
    rm out/large
done

# one that is ignored has no effect
echo before >out/large
(
    trap '' HUP
    "$BYRE" cp -f raw "$(uri slow)" large out &
    pid=$!
    until compgen -G 'out/.byre-*' >files; do
        kill -0 $pid
        read -rt 0.02 <> <(:) || true
    done
    kill -HUP $pid
    wait $pid
)
assert_same_file tree/large out/large
