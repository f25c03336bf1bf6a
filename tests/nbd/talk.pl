# SPDX-License-Identifier: BSD-3-Clause
# What clients without manners have in common: bytes that go to a server, and come from it.
use strict;
use warnings;
use IO::Select;

our $scene; # for the words of those who die

sub say_to {
    my ($socket, $bytes) = @_;
    local $SIG{PIPE} = "IGNORE";
    my $at = 0;
    while ($at < length $bytes) {
        my $n = syswrite $socket, $bytes, length($bytes) - $at, $at;
        return 0 if !defined $n;
        $at += $n;
    }
    return 1;
}

# The next bytes, or undef if the connection has ended; dies after two minutes.
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

1;
