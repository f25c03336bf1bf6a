#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Called as qemu-nbd: what is wrong in a command line is found wrong as qemu-nbd finds it, in the same words.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need qemu-nbd

THEIRS=$(command -v qemu-nbd)
OURS=$TEST_DIR/qemu-nbd
ln -s "$SERVER" qemu-nbd
qemu-img create -q -f qcow2 image.qcow2 1M
truncate -s 1M image.raw
long=$(printf 'x%.0s' {1..4097})
socket=$TEST_DIR/socket

# The program and the image that could not be opened are named in other ways; quotes and advice differ.
normal() {
    sed -E -e "s/^qemu-nbd: //; s/Failed to blk_new_open '[^']*': //; s/\`/'/g; /^Try /d; s/: Try .*//" "$@"
}

sides() {
    run bounded "$THEIRS" "$@"
    code=$CODE err=$(normal .err)
    run bounded "$OURS" "$@"
    assert_equal "$code" "$CODE" "exit code of $* ($ERR)"
    ERR=$(normal .err)
}

# same ARGUMENT...: neither serves; exit code and words are the same.
same() {
    sides "$@"
    assert_equal "$err" "$ERR" "standard error of $*"
}

# same_code REGEX ARGUMENT...: the words are better.
same_code() {
    local regex=$1
    shift
    sides "$@"
    assert_match "$regex" "$ERR"
    [ "$err" != "$ERR" ] || fail "the words for $* are the same now: '$err'"
}

same missing
same -e x image.qcow2
same -e -1 image.qcow2
same -f nope image.qcow2
same --discard=x image.qcow2
same --discard=on --discard=off image.qcow2
same --detect-zeroes=x image.qcow2
same --detect-zeroes=unmap image.qcow2
same --detect-zeroes=unmap --discard=ignore image.qcow2
same --aio=x image.qcow2
same --aio=native image.qcow2
same --aio=io_uring --aio=threads image.qcow2
same --cache=none -n image.qcow2
same --cache=none --cache=none image.qcow2
same --object nope,id=x image.qcow2
same --object secret,id=x image.qcow2
same --object secret image.qcow2
same -B nope -k "$socket" image.qcow2
same -B nope -r image.qcow2
same -k /nowhere/socket image.qcow2
same --fork -k /nowhere/socket image.qcow2
same -k "$socket" --pid-file=/nowhere/pid image.qcow2
same -k "$socket" --fork --pid-file=/nowhere/pid image.qcow2
same -b no.such.host.invalid image.qcow2
same -c "$TEST_DIR/none" --aio=x image.qcow2
same -L image.qcow2
same -L --fork
for option in -xdisk -Da -A -Bb -fraw -n --cache=none --aio=threads --discard=unmap '-c /dev/nbd0'; do
    # shellcheck disable=SC2086 # words
    same -L $option
done
if has LIBNBD; then
    same -L -k "$TEST_DIR/none"
    same -L -k "$TEST_DIR/none" -p 1
    same -L -b no.such.host.invalid
    same -L -b 127.0.0.1 -p 1
fi
if ! grep -qw selinuxfs /proc/filesystems; then
    same --selinux-label=label -k "$socket" image.qcow2
fi
same -T help
if [ ! -e /sys/module/nbd ]; then
    same_code 'Failed to open /dev/nbd0: .*module nbd is not loaded' -c /dev/nbd0 image.qcow2
    same_code 'Failed to open /dev/nbd0: .*module nbd is not loaded' -d /dev/nbd0
    same_code 'Failed to open /dev/nbd0: .*module nbd is not loaded' --disconnect /dev/nbd0
fi
same_code 'Expecting the name of one image'
same_code 'Expecting the name of one image' image.qcow2 image.qcow2
same_code 'Expecting the name of one image' -c /dev/nbd0
same_code 'Expecting the name of one image' -d
same_code "unrecognized option '--nope'" --nope
same_code "missing argument for option '-p'" -p
same_code "Invalid port 'x'" -p x image.qcow2
same_code "Invalid port '-1'" -p -1 image.qcow2
same_code "export description 'x{40}\.\.\.' is too long" -D "$long" image.qcow2
same_code "export name 'x{40}\.\.\.' is too long" -x "$long" image.qcow2
same_code 'UNIX socket path .* is too long' -k "/${long:0:200}" image.qcow2
same_code '1.2.3.4:10809: Failed to bind socket: Cannot assign requested address' -b 1.2.3.4 image.qcow2
same_code 'Invalid cache option: x' --cache=x image.qcow2
same_code '--image-opts and --format are mutually' --image-opts -f raw driver=raw,file.filename=image.raw
same_code "'.*' is no network block device" -c "$TEST_DIR/image.raw" image.qcow2
same_code "there are no trace events" -T enable=x,y=z image.qcow2
same_code "there are no trace events" --trace x,file=/nowhere/x image.qcow2

# there is no such event, and it serves; -b and -p do not count where there is -k, and the last -k counts
for program in "$THEIRS" "$OURS"; do
    run "$program" --fork --pid-file="$TEST_DIR/pid" -T some_event -k "$TEST_DIR/other" -b 1.2.3.4 -p 1 -k "$socket" \
        image.qcow2
    assert_equal 0 "$CODE" "exit code ($ERR)"
    assert_match "warning: trace event 'some_event' does not exist" "$ERR"
    assert_missing other
    pid=$(cat pid)
    run_ok "$THEIRS" -L -k "$socket" # is no client that it would end after
    run_ok qemu-io -f raw -c 'read -P 0 0 512' "nbd+unix:///?socket=$socket"
    await_end "$pid"
    rm -f pid # which qemu-nbd leaves behind
done

# the version
run_ok "$OURS" -V
assert_match '^qemu-nbd [0-9]+\.[0-9]+\.[0-9]+ \(' "$OUT"
run_ok "$OURS" --version
assert_match '^qemu-nbd 7\.2\.' "$OUT"
run_ok "$SERVER" -V
run_ok "$SERVER" --version
assert_match '^byre-nbd [0-9]+\.[0-9]+' "$OUT"
run_ok "$OURS" --help
assert_match '^usage: qemu-nbd ' "$OUT"

# byre-nbd gives back what is trimmed; qemu-nbd, if it is told to.  And it ends at SIGHUP.
blocks() {
    stat -c %b image.raw
}
for words in "$THEIRS 8192" "$OURS 8192" "$SERVER 0" "$OURS 0 --discard=unmap" "$THEIRS 0 --discard=unmap"; do
    read -r program left option <<<"$words"
    rm -f image.raw pid
    head -c 4M /dev/zero | tr '\0' x >image.raw
    # shellcheck disable=SC2086 # an option or none
    run_ok "$program" --fork --pid-file="$TEST_DIR/pid" -t -f raw -k "$socket" $option image.raw
    run_ok qemu-io -f raw -c 'discard 0 4M' "nbd+unix:///?socket=$socket"
    pid=$(cat pid)
    if [ "$program" = "$SERVER" ]; then
        kill "$pid"
    else
        kill -HUP "$pid"
    fi
    await_end "$pid"
    rm -f pid # which qemu-nbd leaves behind
    assert_at_most $((left + 64)) "$(blocks)" "blocks with $words"
    assert_at_most "$(blocks)" "$left" "blocks with $words: too few"
done
