#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Signals: the end with requests under way, with clients that do not listen, with those who are still greeting;
# statistics; SIGHUP.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need qemu-io nbdinfo perl

# a client with perl's patience: connection.pl SOCKET SCENE
cat >connection.pl <<'END'
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;
my ($path, $scene, $count) = @ARGV;
$| = 1;
sub hear {
    my ($socket, $length) = @_;
    my $bytes = "";
    while (length $bytes < $length) {
        IO::Select->new($socket)->can_read(120) or die "$scene: nothing comes";
        my $n = sysread $socket, $bytes, $length - length $bytes, length $bytes;
        return undef if !$n;
    }
    return $bytes;
}
sub transmitting {
    my $socket = IO::Socket::UNIX->new(Peer => $path) or die "connect: $!";
    hear($socket, 18) // die;
    syswrite $socket, pack("N a8 N N/a*", 3, "IHAVEOPT", 1, "");
    hear($socket, 10) // die;
    return $socket;
}
sub request { return pack("N n n Q> Q> N", 0x25609513, 0, @_) }
if ($scene eq "deaf") { # many reads, whose replies nobody takes
    my $socket = transmitting();
    syswrite $socket, join "", map { request(0, $_, 0, 1 << 20) } 1 .. 20;
    print "asked\n";
    scalar <STDIN>;
} elsif ($scene eq "answered") { # what was taken is answered; then the end comes
    my $socket = transmitting();
    syswrite $socket, join "", map { request(1, $_, $_ * 4096, 4096) . ("z" x 4096) } 0 .. 99;
    my %open = map { $_ => 1 } 0 .. 99;
    my $first = 1;
    while (my $reply = hear($socket, 16)) {
        my ($magic, $error, $cookie) = unpack "N N Q>", $reply;
        die "$scene: $error" if $magic != 0x67446698 || $error;
        delete $open{$cookie} // die "$scene: $cookie was answered before";
        print "answered\n" if $first;
        $first = 0;
    }
    print "open: ", join(" ", sort { $a <=> $b } keys %open), "\n";
} elsif ($scene eq "idle") {
    my @sockets = map { transmitting() } 1 .. $count;
    print "there\n";
    scalar <STDIN>;
}
END

# requests that were taken are answered, and are in the image
qemu-img create -q -f qcow2 image.qcow2 1M
for signal in TERM INT; do
    rm -f answers
    start_server -t -e 0 image.qcow2
    perl connection.pl socket answered >answers 7>&- &
    client=$!
    await_text answered answers
    stop_server $signal
    wait $client || fail "$(cat answers)"
    read -r -a open <<<"$(sed -n 's/^open: *//p' answers)"
    for ((i = 0; i < 100; i++)); do
        [[ " ${open[*]:-} " = *" $i "* ]] ||
            echo "read -q -P 0x7a $((i * 4096)) 4096"
    done >reads
    [ -s reads ] || fail "nothing was answered"
    assert_equal '' "$(qemu-io -f qcow2 image.qcow2 <reads 2>&1 | sed 's/qemu-io> *//g' | grep -i fail || true)" \
        "what was answered"
    assert_clean image.qcow2
done

# a client that does not hear its replies: a second signal is enough
qemu-img create -q -f qcow2 large.qcow2 64M
qemu_io -f qcow2 -c 'write -q -P 1 0 1M' large.qcow2
mkfifo hold
start_server -t -e 0 large.qcow2
perl connection.pl socket deaf <hold >deaf.out 7>&- &
client=$!
exec 8>hold
await_text asked deaf.out
pid=$(cat pid)
before=$SECONDS
kill -TERM "$pid"
# it does not take the client's part until it is told again: the socket refuses others meanwhile
is_told_again_and_has_ended() {
    kill -TERM "$pid" 2>/dev/null || true
    has_ended "$pid"
}
await is_told_again_and_has_ended
assert_at_most 9 $((SECONDS - before)) 'seconds until the end after two signals'
assert_missing socket
assert_missing pid
exec 8>&-
wait $client

# without one, it is ten seconds
if [ -n "${BYRE_LONG:-}" ]; then
    start_server -t -e 0 large.qcow2
    perl connection.pl socket deaf <hold >deaf.out 7>&- &
    client=$!
    exec 8>hold
    await_text asked deaf.out
    before=$SECONDS
    stop_server
    assert_at_most 15 $((SECONDS - before)) 'seconds until the end'
    assert_at_most $((SECONDS - before)) 8 'seconds until the end: too few'
    exec 8>&-
    wait $client
fi

# statistics; who comes and goes does so a little before the server sees it
tells() { # REGEX: when it is asked
    : >told
    kill -USR1 "$pid"
    await_text '^  status: ' told
    grep -q "$1" told
}
: >told
"$SERVER" --pid-file="$TEST_DIR/pid" -k socket -t -e 0 -v -x "$(printf 'na\tme')" large.qcow2 2>>told 7>&- &
await [ -s pid ]
pid=$(cat pid)
uri="nbd+unix:///na%09me?socket=$TEST_DIR/socket"
run_ok qemu-io -f raw -c 'read -q 0 64k' -c 'read -q 0 4k' -c 'write -q 1M 128k' -c 'write -q -z 2M 1M' \
    -c 'discard -q 4M 512k' -c 'flush' "$uri"
run_ok nbdinfo --map "$uri"
await tells '^since .*: 0 connections'
assert_match "^since 20[0-9-]+T[0-9:]+Z: 0 connections \(2 ever\)
export 'na\?me': 0 connections \(2 ever\), 0 in flight, 0 errors
  read: 2 requests, 69632 bytes
  write: 1 requests, 131072 bytes
  flush: [1-3] requests, 0 bytes
  trim: 1 requests, 524288 bytes
  zero: 1 requests, 1048576 bytes
  status: [1-9][0-9]* requests, [0-9]+ bytes\$" "$(cat told)"
# and errors, and those that are there
perl -e 'exec @ARGV' perl "$TEST_TOP/tests/nbd/rude.pl" socket silent >silent.out 7>&- 2>&1 &
silent=$!
await_text silent silent.out
await tells '^since .*: 3 connections (5 ever)'
# SIGHUP has nothing to do here
kill -HUP "$pid"
await_text 'SIGHUP: there is nothing' told
run_ok nbdinfo --size "$uri"
kill "$pid"
await_end "$pid"
wait $silent || fail "$(cat silent.out)"
assert_missing pid

# in the background -v has standard error still
"$SERVER" --fork --pid-file="$TEST_DIR/pid" -k socket -t -v large.qcow2 2>told 7>&-
kill -USR1 "$(cat pid)"
await_text "^export ''" told
stop_server
