#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that dies while it is used: errors and no hang; with reconnect-delay it may come back, and nothing is lost.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/client.bash"
slow

# A server that stops at what it is asked to do, so that the requests are under way when it dies, and says when.
serve_slowly() {
    local name=$1 file=$2
    : >"$name.log"
    serve_nbdkit "$name" --filter=log --filter=delay file "$file" delay-read=600 delay-write=600 logfile="$PWD/$name.log"
}

# until_logged NAME WORD: the server has got such a request.
until_logged() {
    await_text "$2" "$1.log"
}

# in_background CODE TEXT COMMAND...: finish waits for it.
in_background() {
    wanted_code=$1 wanted_text=$2
    shift 2
    bounded "$@" >job.out 2>job.err </dev/null &
    job=$!
}
finish() {
    local code=0
    wait "$job" || code=$?
    assert_equal "$wanted_code" "$code" "exit code: $(cat job.out job.err)"
    assert_match "$wanted_text" "$(cat job.err)"
}

noise 1 4194304 >data.raw
cp data.raw source.raw
truncate -s 4M target.raw

# It dies: what is under way fails, on all connections.
serve_slowly reading source.raw
in_background 1 "could not read .* of 'nbd\+unix://.*reading.sock': Connection reset by peer" \
    "$BYRE" convert -f raw -O raw "$(uri reading)" out.raw
until_logged reading ' Read '
end_server reading KILL
finish
serve_slowly writing target.raw
in_background 1 "could not write .* of 'nbd\+unix://.*writing.sock': Connection reset by peer" \
    "$BYRE" convert -n -f raw -O raw data.raw "$(uri writing)"
until_logged writing ' Write '
end_server writing KILL
finish

# A long write goes out while another thread waits for a read that is never answered.
truncate -s 4M busy.raw
: >busy.log
serve_nbdkit busy --filter=log --filter=multi-conn --filter=delay file busy.raw delay-read=600 \
    multi-conn-mode=disable logfile="$PWD/busy.log"
in_background 1 'could not read 65536 bytes at offset 0 of .*: Connection reset by peer' \
    "$BYRE" io -f raw -c 'aio_read 0 64K' -c 'aio_write -P 5 1M 2M' -c aio_flush "$(uri busy)"
until_logged busy 'Write id=.* return=0'
end_server busy KILL
finish
assert_match 'wrote 2097152/2097152 bytes' "$(cat job.out)"
run_ok "$BYRE" io -r -f raw -c 'read -q -P 5 1M 2M' busy.raw

# It comes back: whoever waited goes on, also where there are several connections.
serve_slowly again source.raw
in_background 0 '^$' "$BYRE" convert --image-opts -O raw "$(node again reconnect-delay=100)" out.raw
until_logged again ' Read '
end_server again KILL
serve_nbdkit again file source.raw
finish
assert_same_file data.raw out.raw
end_server again

# What was written and not flushed is written again, and what was flushed is not asked for: this server forgets.
: >forgets.log
serve_nbdkit forgets --filter=log memory 4M logfile="$PWD/forgets.log"
mkfifo commands
in_background 0 '^$' bash -c "exec '$BYRE' io --image-opts '$(node forgets reconnect-delay=100)' <commands"
exec 8>commands
printf 'write -q -P 1 0 64K\nflush\nwrite -q -P 2 64K 64K\nwrite -q -P 3 100000 1000\nwrite -q -z 70000 100\n' >&8
until_logged forgets ' Zero '
end_server forgets KILL
serve_nbdkit forgets memory 4M
printf 'read -q -P 0 0 64K\nread -q -P 2 64K 1000\nread -q -P 3 100000 1000\nread -q -P 0 70000 100\nflush\nq\n' >&8
exec 8>&-
finish
assert_match '^(byre io> )*$' "$(cat job.out)"
end_server forgets

# It comes back as something else, or not at all.
serve_slowly other source.raw
in_background 1 'Stale file handle' "$BYRE" convert --image-opts -O raw "$(node other reconnect-delay=100)" out.raw
until_logged other ' Read '
end_server other KILL
serve_nbdkit other memory 1M
finish
end_server other
serve_slowly never source.raw
in_background 1 'Connection timed out' "$BYRE" convert --image-opts -O raw "$(node never reconnect-delay=1)" out.raw
until_logged never ' Read '
end_server never KILL
finish

# It is not there yet.
in_background 0 '^$' "$BYRE" compare --image-opts "$(node late open-timeout=100)" driver=raw,file.filename=source.raw
serve_nbdkit late file source.raw
finish
run_fails 1 "Failed to connect to '$PWD/later.sock': No such file or directory" \
    "$BYRE" info --image-opts "$(node later open-timeout=1)"
# It is there, and does not answer.
serve_nbdkit mute --filter=delay memory 1M delay-open=600
run_fails 1 "The server at '$PWD/mute.sock' did not complete the handshake in time" \
    "$BYRE" info --image-opts "$(node mute open-timeout=1)"
end_server mute KILL
