#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Where clients come: several sockets at once, relative and abstract names, vsock, and those that a service manager
# hands over; what is told to that.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo perl

truncate -s 1M image.raw

# asked URI: the export's size comes from there
asked() {
    run_ok nbdinfo --size "$1"
    assert_equal 1048576 "$OUT" "size at $1"
}

# several at once, and -L for each; nothing of them is left
start_tcp -t -e 0 -k socket -k second -k "@$TEST_DIR/third" -f raw image.raw
port=$PORT
asked "$URI"
asked "nbd+unix:///?socket=$TEST_DIR/second"
asked "nbd://127.0.0.1:$port"
for words in "-k socket" "-k $TEST_DIR/second" "-k @$TEST_DIR/third" "-b 127.0.0.1 -p $port"; do
    has LIBNBD || break
    # shellcheck disable=SC2086 # words
    run_ok "$SERVER" -L $words
    assert_match "^exports available: 1.*export: ''.*size:  1048576" "$OUT"
done
run_fails 1 "Failed to bind socket to @$TEST_DIR/third: Address already in use" \
    "$SERVER" -k "@$TEST_DIR/third" -r --image-opts driver=null-co,size=1M
stop_server
assert_missing second

# the long names of options
qemu-img create -q -f qcow2 image.qcow2 1M
run_ok "$SERVER" --fork --pid-file="$TEST_DIR/pid" --persistent --shared=0 --socket=socket --read-only --format=qcow2 \
    --export-name=disk --description=text --allocation-depth --nocache --aio=native --verbose image.qcow2
if has LIBNBD; then
    run_ok "$SERVER" --list --socket=socket
    assert_match "export: 'disk'.*description: text.*readonly.*multi.*qemu:allocation-depth" "$OUT"
fi
stop_server
run_ok "$SERVER" --fork --pid-file="$TEST_DIR/pid" --persistent --bind=127.0.0.1 --port=$port --image-opts --cache=none \
    driver=raw,file.filename=image.raw
asked "nbd://127.0.0.1:$port"
pid=$(cat pid)
kill "$pid"
await_end "$pid"
run_fails 1 "Bitmap 'none' is not found" "$SERVER" --bitmap=none --read-only image.qcow2
run_ok "$SERVER" --trace=help
assert_equal '' "$OUT" 'trace events'

# one that is gone has left its socket behind
start_server -t -f raw image.raw
stop_server KILL
start_server -t -f raw image.raw
asked "$URI"
# --list looks at one server
run_fails 1 'List mode asks one server' "$SERVER" --list -k socket -k second
stop_server

# vsock: as far as a port that is bound; at most one can have it
for text in x 1:x :1 1: 1:2:3 -1 4294967296 99999999999999999999999 1:4294967296 ''; do
    run_fails 1 "Invalid vsock address" "$SERVER" --vsock="$text" -f raw image.raw
done
run "$SERVER" --fork --pid-file="$TEST_DIR/pid" -t -k socket --vsock=$port -f raw image.raw
if [ "$CODE" != 0 ] && [[ $ERR = *'this kernel has no vsock'* ]]; then
    echo 'this kernel has no vsock'
    vsock=
else
    vsock=1
    assert_equal '0 ' "$CODE $ERR" "byre-nbd --vsock"
    asked "$URI"
    run_fails 1 "vsock:$port: Failed to bind socket: Address already in use" \
        "$SERVER" --vsock=$port --image-opts driver=null-co,size=1M
    run_fails 1 "vsock:77777:1025: Failed to bind socket" \
        "$SERVER" --vsock=77777:1025 --image-opts driver=null-co,size=1M
    stop_server
fi

# activate NUMBER TYPE COMMAND...: hands over sockets, a0 and so on, as systemd does
cat >activate.pl <<'END'
use strict;
use warnings;
use POSIX qw(dup2);
use Socket;
use Fcntl;
my ($count, $kind, @command) = @ARGV;
my @sockets;
for my $n (0 .. $count - 1) {
    unlink "a$n";
    if ($kind eq "file") {
        open($sockets[$n], "<", "/dev/null") or die;
    } elsif ($kind eq "tcp") {
        socket($sockets[$n], AF_INET, SOCK_STREAM, 0) or die;
        bind($sockets[$n], pack_sockaddr_in(0, INADDR_LOOPBACK)) or die;
        open(my $port, ">", "port$n") or die;
        print $port ((unpack_sockaddr_in(getsockname($sockets[$n])))[0], "\n");
    } else {
        socket($sockets[$n], AF_UNIX, $kind eq "datagram" ? SOCK_DGRAM : SOCK_STREAM, 0) or die;
        bind($sockets[$n], pack_sockaddr_un("a$n")) or die;
    }
    listen($sockets[$n], 5) or die if $kind eq "tcp" || $kind eq "unix";
}
dup2(fileno($sockets[$_]), 100 + $_) for 0 .. $count - 1; # out of the way of each other
for (0 .. $count - 1) {
    dup2(100 + $_, 3 + $_);
    POSIX::close(100 + $_);
}
$^F = 1000;
$ENV{LISTEN_FDS} = $ENV{BAD_FDS} // $count;
$ENV{LISTEN_PID} = $ENV{BAD_PID} // $$;
$ENV{LISTEN_FDNAMES} = "one:two";
exec @command or die;
END
activate() {
    perl activate.pl "$@"
}

run_ok activate 2 unix "$SERVER" --fork --pid-file="$TEST_DIR/pid" -t -e 0 -f raw image.raw
asked "nbd+unix:///?socket=$TEST_DIR/a0"
asked "nbd+unix:///?socket=$TEST_DIR/a1"
# there is no other way in
run_fails 1 'Connection refused' nbdinfo --size "nbd://127.0.0.1:$port"
pid=$(cat pid)
kill "$pid"
await_end "$pid"
[ -S a0 ] || fail 'a socket that was handed over is gone'
run_ok activate 2 tcp "$SERVER" --fork --pid-file="$TEST_DIR/pid" -f raw image.raw
pid=$(cat pid)
asked "nbd://127.0.0.1:$(cat port1)"
await_end "$pid"

run_fails 1 'file descriptor 3: Socket operation on non-socket' activate 1 file "$SERVER" -f raw image.raw
run_fails 1 'file descriptor 3 is no stream socket that listens' activate 1 datagram "$SERVER" -f raw image.raw
run_fails 1 'file descriptor 3 is no stream socket that listens' activate 1 deaf "$SERVER" -f raw image.raw
for text in x -1 1x 5000 99999999999999999999 ''; do
    BAD_FDS=$text run_fails 1 'Failed to use socket activation: invalid LISTEN_FDS' \
        activate 1 unix "$SERVER" -f raw image.raw
done
refused() {
    local text=$1
    shift
    run_fails 1 "$text" activate 1 unix "$SERVER" "$@"
    if [[ $text != vsock* ]] && command -v qemu-nbd >/dev/null; then
        run_fails 1 "$text" activate 1 unix qemu-nbd "$@"
    fi
}
refused "Unix socket can't be set when using socket activation" -k "$TEST_DIR/socket" -f raw image.raw
refused "The interface can't be set when using socket activation" -b 127.0.0.1 -f raw image.raw
refused "TCP port number can't be set when using socket activation" -p $port -f raw image.raw
refused "NBD device can't be set when using socket activation" -c /dev/nbd0 -f raw image.raw
refused "NBD device can't be set when using socket activation" --connect=/dev/nbd0 -f raw image.raw
refused "SELinux label can't be set when using socket activation" --selinux-label=x -f raw image.raw
refused "vsock can't be set when using socket activation" --vsock=1 -f raw image.raw
refused "List mode is incompatible with socket activation" -L
# those of another process are not this one's
BAD_PID=1 run_ok activate 1 unix "$SERVER" --fork --pid-file="$TEST_DIR/pid" -t -k socket -f raw image.raw
asked "$URI"
stop_server

# what the manager is told
cat >manager.pl <<'END'
use strict;
use warnings;
use Socket;
my ($name, $out) = @ARGV;
socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die;
(my $address = $name) =~ s/^@/\0/;
bind($socket, pack_sockaddr_un($address)) or die "bind: $!";
$| = 1;
open(my $file, ">", $out) or die;
$file->autoflush;
print $file "there\n";
while (defined recv($socket, my $text, 4096, 0)) {
    $text =~ s/\n/ /g;
    print $file "$text\n";
    last if $text =~ /STOPPING/;
}
END
for name in "$TEST_DIR/notify" "@$TEST_DIR/notify"; do
    rm -f told notify
    perl manager.pl "$name" told 7>&- &
    manager=$!
    await_text there told
    NOTIFY_SOCKET=$name start_server -t -f raw image.raw
    pid=$(cat pid)
    await_text READY told
    stop_server
    wait $manager
    assert_equal "there READY=1 MAINPID=$pid STOPPING=1 " "$(tr '\n' ' ' <told)" "what the manager was told"
done
NOTIFY_SOCKET=relative run_fails 1 "invalid NOTIFY_SOCKET 'relative'" "$SERVER" -k socket -f raw image.raw
NOTIFY_SOCKET=/nowhere/x run_fails 1 "Failed to connect to NOTIFY_SOCKET '/nowhere/x'" "$SERVER" -k socket -f raw image.raw
NOTIFY_SOCKET='' run_ok "$SERVER" --fork --pid-file="$TEST_DIR/pid" -k socket -t -f raw image.raw
stop_server
[ -n "$vsock" ] || skip 'this kernel has no vsock'
