#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# -L says of a server what qemu-nbd -L says of it; and what is said of servers that do not behave.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need qemu-nbd perl
truncate -s 1M image.raw
if ! has LIBNBD; then
    run_fails 1 'was built without libnbd' "$SERVER" -L -k "$TEST_DIR/socket"
    exit 0
fi

# listed [SOCKET]: both list it in the same way; $OUT is the list.
listed() {
    local socket=${1:-$TEST_DIR/socket} theirs
    run_ok qemu-nbd -L -k "$socket"
    theirs=$OUT
    run_ok "$SERVER" -L -k "$socket"
    assert_equal "$theirs" "$OUT" "the list"
}

qemu-img create -q -f qcow2 image.qcow2 1M
qemu-img bitmap --add image.qcow2 b0
qemu-img bitmap --disable image.qcow2 b0
start_server -t -r -e 0 -A -B b0 -x disk -D 'some text' image.qcow2
listed
assert_match "export: 'disk'.*description: some text.*readonly.*qemu:dirty-bitmap:b0" "$OUT"
stop_server TERM
start_server -t -f raw image.raw
listed
stop_server TERM
qemu-nbd --fork --pid-file="$TEST_DIR/theirs.pid" -t -k "$TEST_DIR/theirs" -e 2 -A image.qcow2
listed "$TEST_DIR/theirs"
pid=$(cat theirs.pid)
kill "$pid"
await_end "$pid"

# nbdkit: none, many, an old protocol
# with_nbdkit COMMAND NBDKIT-ARGUMENT...: the command, while it serves at "kit"
with_nbdkit() {
    local command=$1 pid
    shift
    rm -f kit kit.pid
    nbdkit -U "$TEST_DIR/kit" -P "$TEST_DIR/kit.pid" "$@" 7>&-
    $command "$TEST_DIR/kit"
    pid=$(cat kit.pid)
    kill "$pid"
    await_end "$pid"
}
too_old() {
    run_fails 1 'too old to list exports' "$SERVER" -L -k "$1"
}
if command -v nbdkit >/dev/null; then
    mkdir many empty
    for i in 1 2 3; do
        truncate -s ${i}M "many/disk$i"
    done
    with_nbdkit listed memory 1M
    with_nbdkit listed file dir=many
    with_nbdkit listed file dir=empty
    with_nbdkit listed --filter=blocksize-policy memory 1M blocksize-minimum=512 blocksize-preferred=4k blocksize-maximum=1M
    with_nbdkit listed --no-sr memory 1M
    with_nbdkit too_old -o memory 1M
fi

# what it cannot be spoken to; text that is none
cat >server.pl <<'END'
use strict;
use warnings;
no warnings "portable";
use IO::Socket::UNIX;
my ($path, $scene) = @ARGV;
my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die;
my $socket = $listener->accept or die;
sub hear { my $n = read $socket, my $bytes, shift; return $bytes }
sub reply { return pack("Q> N N N/a*", 0x3e889045565a9, @_) }
$socket->autoflush;
if ($scene eq "garbage") {
    print $socket "HTTP/1.1 400 Bad Request\r\n\r\n" x 10;
} elsif ($scene eq "gone") {
    exit;
} else {
    print $socket pack("a8 a8 n", "NBDMAGIC", "IHAVEOPT", 3);
    hear(4);
    while (my $head = hear(16)) {
        my ($magic, $option, $length) = unpack "a8 N N", $head;
        my $data = $length ? hear($length) : "";
        if ($option == 3 && $scene eq "refusing") {
            print $socket reply($option, 0x80000002, "no");
        } elsif ($option == 3) {
            print $socket reply($option, 2, pack("N/a*", "a\e[31mb\n")), reply($option, 1, "");
        } elsif ($option == 6) {
            print $socket reply($option, 3, pack("n Q> n", 0, 512, 1)), reply($option, 3, pack("n a*", 2, "c\r\nd")),
                reply($option, 1, "");
        } else {
            print $socket reply($option, 0x80000001, "");
        }
    }
}
END
# met SCENE: a server that behaves so is there
met() {
    rm -f met
    perl server.pl met "$1" 7>&- &
    server=$!
    await [ -S met ]
}
for scene in garbage gone; do
    met $scene
    run "$SERVER" -L -k met
    assert_equal 1 "$CODE" "exit code with $scene"
    [ -n "$ERR" ] || fail "nothing is said of $scene"
    wait $server || true
done
met refusing
run "$SERVER" -L -k met
assert_equal 1 "$CODE" "exit code with a server that refuses"
wait $server || true
met dirty
run_ok "$SERVER" -L -k met
assert_equal "exports available: 1
 export: 'a?[31mb?'
  description: c??d
  size:  512
  flags: 0x1 ( )" "$OUT" 'the list'
wait $server || true
run_fails 1 "UNIX socket path '.*' is too long" "$SERVER" -L -k "$(printf 'x%.0s' {1..200})"
