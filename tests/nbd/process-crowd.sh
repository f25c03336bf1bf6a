#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A thousand clients that are idle, one that works, and what they cost in memory; more than there may be files.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdcopy perl
[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 2200 ] || skip "at most $(ulimit -Hn) files may be open"

text 1 4000000 >plain.raw
truncate -s 4M plain.raw
cat >crowd.pl <<'END'
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;
my ($path, $count, $read) = @ARGV;
$| = 1;
sub hear {
    my ($socket, $length) = @_;
    while ($length > 0) {
        IO::Select->new($socket)->can_read(120) or die "nothing comes";
        my $n = sysread $socket, my $bytes, $length or die "the end";
        $length -= $n;
    }
}
my @sockets;
for (1 .. $count) {
    my $socket = IO::Socket::UNIX->new(Peer => $path) or die "connect: $!";
    hear($socket, 18);
    syswrite $socket, pack("N a8 N N/a*", 3, "IHAVEOPT", 1, "");
    hear($socket, 10);
    syswrite $socket, pack("N n n Q> Q> N", 0x25609513, 0, 0, 1, 0, $read);
    hear($socket, 16 + $read);
    push @sockets, $socket;
}
print "there\n";
scalar <STDIN>;
END

memory() { # KiB that are in use
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(cat pid)/status"
}

# idle COUNT: that many clients come, have read a little, and fall silent; until fd 8 is closed
mkfifo hold
idle() {
    perl crowd.pl socket "$1" 4096 <hold >crowd 2>&1 7>&- &
    crowd=$!
    exec 8>hold
    await_text there crowd
}
leave() {
    exec 8>&-
    wait $crowd || fail "$(cat crowd)"
}

# the server raises its own limit of files
ulimit -Sn 256
start_server -t -e 0 -f raw plain.raw
ulimit -Sn 2200
idle 100
few=$(memory)
leave
idle 1000
many=$(memory)
run_ok nbdcopy "$URI" copy.raw
assert_same_file plain.raw copy.raw
# an idle client has touched a page or two of what it may use
echo "memory: $few KiB with 100 clients, $many KiB with 1000"
assert_at_most 64 $(((many - few) / 900)) 'KiB of memory for each idle client'
leave
run_ok nbdcopy "$URI" copy.raw
assert_same_file plain.raw copy.raw
stop_server TERM

# as many as there may be files: others wait until one has gone, and are served then
(
    ulimit -n 64
    "$SERVER" --fork --pid-file="$TEST_DIR/pid" -k socket -t -e 0 -f raw plain.raw
)
perl crowd.pl socket 30 512 <hold >crowd 2>&1 7>&- &
crowd=$!
exec 8>hold
for ((i = 0; i < 4; i++)); do
    nbdcopy --connections=8 "$URI" "copy$i.raw" 7>&- 8>&- &
    copies[i]=$!
done
await_text there crowd
leave
for ((i = 0; i < 4; i++)); do
    wait "${copies[i]}"
    assert_same_file plain.raw "copy$i.raw"
done
stop_server TERM
