#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Servers with limits, of few abilities, and with errors: requests fit them, and errors are theirs.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/client.bash"

noise 1 3000000 >data.raw
truncate -s 4M data.raw

# requests NAME WORD: offsets and counts of the logged requests of that kind, one a line, as numbers.
requests() {
    sed -n "s/.* $2 id=.* offset=\(0x[0-9a-f]*\) count=\(0x[0-9a-f]*\).*/\1 \2/p" "$1.log" | while read -r offset count; do
        echo "$((offset)) $((count))"
    done
}

# sized NAME OPTION...: a server that refuses what does not fit its block sizes, and logs what it is asked.
sized() {
    local name=$1
    shift
    : >"$name.log"
    truncate -s 0 "$name.raw"
    truncate -s 4M "$name.raw"
    serve_nbdkit "$name" --filter=log --filter=blocksize-policy file "$name.raw" logfile="$PWD/$name.log" \
        blocksize-error-policy=error "$@"
}

for sizes in '512 4096 65536' '4096 65536 262144' '65536 65536 65536'; do
    read -r min preferred max <<<"$sizes"
    sized "of$min" "blocksize-minimum=$min" "blocksize-preferred=$preferred" "blocksize-maximum=$max"
    run_ok "$BYRE" convert -n -f raw -O raw data.raw "$(uri "of$min")"
    run_ok "$BYRE" compare -U -f raw -F raw data.raw "$(uri "of$min")"
    assert_same_file data.raw "of$min.raw"
    run_ok "$BYRE" io -d unmap -f raw -c 'write -q -P 1 1000 3' -c 'write -q -P 2 65530 140000' -c 'write -q -z 300000 200000' \
        -c 'discard -q 600001 300000' -c 'read -q -P 1 1000 3' -c 'read -q -P 2 65530 140000' \
        -c 'read -q -P 0 300000 200000' "$(uri "of$min")"
    cp data.raw wanted.raw
    qemu_io -f raw -c 'write -q -P 1 1000 3' -c 'write -q -P 2 65530 140000' -c 'write -q -z 300000 200000' wanted.raw
    cmp -n 600000 wanted.raw "of$min.raw"
    cmp -i 900002 wanted.raw "of$min.raw"
    for word in Read Write; do
        requests "of$min" "$word" | awk -v min="$min" -v max="$max" '
            $1 % min || $2 % min || $2 > max { print "a request of " $2 " bytes at " $1; bad = 1 }
            END { exit !NR || bad }' || fail "block sizes $sizes are not respected by $word"
    done
    end_server "of$min"
done

# More than fits at once, also without data; the preferred size is aimed at.
sized long blocksize-minimum=1 blocksize-maximum=65536
run_ok "$BYRE" io -d unmap -f raw -c 'write -q -z 0 4M' -c 'discard -q 0 4M' -c 'write -q -P 3 1 1000000' "$(uri long)"
run_ok "$BYRE" io -r -f raw -c 'read -q -P 3 1 1000000' -c 'read -q -P 0 1000001 100000' "$(uri long)"
end_server long

# Zeros and trims of more than the largest block, where a server does not take them: in pieces.  It cannot flush.
truncate -s 4M strict.raw
run_ok "$BYRE" io -f raw -c 'write -q -P 9 0 4M' strict.raw
: >strict.log
# shellcheck disable=SC2016 # the server's variables
in_pieces='[ "$3" -le 65536 ] || { echo EINVAL >&2; exit 1; }; echo "$1 $3" >>"$DIR/strict.log";'
# shellcheck disable=SC2016
DIR=$PWD serve_nbdkit strict eval get_size='echo 4M' block_size='echo 1 4096 65536' can_write='exit 0' can_flush='exit 3' \
    can_zero='exit 0' can_trim='exit 0' trim="$in_pieces" \
    pread='dd if="$DIR/strict.raw" skip=$4 count=$3 iflag=skip_bytes,count_bytes status=none' \
    pwrite='dd of="$DIR/strict.raw" seek=$4 oflag=seek_bytes conv=notrunc status=none' \
    zero="$in_pieces"' head -c $3 /dev/zero | dd of="$DIR/strict.raw" seek=$4 oflag=seek_bytes conv=notrunc status=none'
run_ok "$BYRE" io -d unmap -f raw -c 'write -q -z 100 200000' -c 'discard -q 1M 300000' -c flush -c 'write -q -z 1M 70000' \
    "$(uri strict)"
run_ok "$BYRE" io -f raw -r -c 'read -q -P 0 100 200000' -c 'read -q -P 9 0 100' -c 'read -q -P 9 200100 10000' strict.raw
assert_equal '299008 270000' "$(awk '{ sum[$1] += $2 } END { print sum["trim"], sum["zero"] }' strict.log)" \
    'bytes that were trimmed and zeroed'
end_server strict

# A server that cannot zero and knows of no extents.
truncate -s 4M bare.raw
serve_nbdkit bare --filter=nozero --filter=noextents file bare.raw zeromode=none
run_ok "$BYRE" io -f raw -c 'write -q -P 1 0 1M' -c 'write -q -z 1000 100000' -c 'discard -q 512K 64K' -c flush \
    -c 'read -q -P 0 1000 100000' "$(uri bare)"
run_ok "$BYRE" map -f raw --output=json "$(uri bare)"
assert_equal 1 "$(wc -l <<<"$OUT")" 'extents'
end_server bare

# Fast zeros: refused by the server, they are written.
serve_nbdkit slow --filter=nozero memory 4M zeromode=notrim fastzeromode=slow
run_ok "$BYRE" convert -n -f raw -O raw data.raw "$(uri slow)"
run_ok "$BYRE" compare -f raw -F raw data.raw "$(uri slow)"
end_server slow

# Errors are the server's.
cp data.raw source.raw
failing() {
    local option=$1 text=$2
    shift 2
    serve_nbdkit failing --filter=error file source.raw "$option" "${option%%=*}-rate=100%"
    run_fails 1 "$text" "$@"
    end_server failing
}
failing error-pread=ENOSPC "could not read .* of 'nbd\+unix://.*failing.sock': No space left on device" \
    "$BYRE" convert -f raw -O raw "$(uri failing)" out.raw
failing error-pwrite=EPERM "could not write .* of 'nbd\+unix://.*failing.sock': Operation not permitted" \
    "$BYRE" convert -n -f raw -O raw data.raw "$(uri failing)"
failing error-extents=EIO "could not find the extents of .*failing.sock': Input/output error" \
    "$BYRE" map -f raw "$(uri failing)"
serve_nbdkit failing --filter=error file source.raw error-pwrite=ENOSPC error-pwrite-rate=100%
run_ok "$BYRE" compare -U -f raw -F raw source.raw "$(uri failing)"
run "$BYRE" io -f raw -c 'write 0 64K' "$(uri failing)"
assert_match 'No space left on device' "$OUT$ERR"
end_server failing

# Many requests at once, over several connections where the server has them, over one where not.
for mode in plugin disable; do
    : >many.log
    truncate -s 0 many.raw
    truncate -s 4M many.raw
    serve_nbdkit many --filter=log --filter=multi-conn --filter=delay file many.raw delay-write=20ms \
        logfile="$PWD/many.log" "multi-conn-mode=$mode"
    run_ok "$BYRE" bench -f raw -w -c 64 -d 16 -s 64K "$(uri many)"
    assert_equal 64 "$(grep -c ' Write ' many.log)" 'writes'
    connections=$(grep -o 'connection=[0-9]* Write' many.log | LC_ALL=C sort -u | wc -l)
    if [ "$mode" = plugin ]; then
        [ "$connections" -gt 1 ] || fail 'only one connection was used'
    else
        assert_equal 1 "$connections" 'connections that were used'
    fi
    end_server many
done

# A thousand extents are not a thousand questions, where the disk is only read.
truncate -s 4M pieces.raw
for ((i = 0; i < 512; i++)); do
    echo "write -q -P 1 $((i * 8192)) 4096"
done | qemu-io -f raw pieces.raw >/dev/null
: >pieces.log
serve_nbdkit pieces --filter=log file pieces.raw logfile="$PWD/pieces.log"
run_ok "$BYRE" map -f raw --output=json "$(uri pieces)"
assert_equal "$(qemu-img map -U -f raw --output=json pieces.raw)" "$OUT"
asked=$(grep -c ' Extents id=.* count=' pieces.log)
assert_at_most $(($(wc -l <<<"$OUT") / 100)) "$asked" 'questions for extents'
run_ok "$BYRE" convert -f raw -O qcow2 "$(uri pieces)" pieces.qcow2
assert_same_disk -U -f raw -F qcow2 pieces.raw pieces.qcow2
