# SPDX-License-Identifier: BSD-3-Clause
# An NBD client without manners: perl rude.pl SOCKET SCENE.  Dies with words if the server is not as it should be.
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;

my ($path, $scene, @args) = @ARGV;

sub connected {
    my $socket = IO::Socket::UNIX->new(Peer => $path) or die "connect: $!";
    return $socket;
}

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

# The next bytes, or undef if the connection has ended; dies after 20 seconds.
sub hear {
    my ($socket, $length) = @_;
    my $bytes = "";
    while (length $bytes < $length) {
        IO::Select->new($socket)->can_read(20) or die "$scene: nothing comes";
        my $n = sysread $socket, $bytes, $length - length $bytes, length $bytes;
        return undef if !$n;
    }
    return $bytes;
}

sub option { return pack("a8 N N/a*", "IHAVEOPT", @_) }
sub go { return option(7, pack("N/a* n", $_[0], 0)) }
sub request {
    my ($type, $offset, $length, $flags) = @_;
    return pack("N n n Q> Q> N", 0x25609513, $flags || 0, $type, 77, $offset, $length);
}

# In the transmission phase, with simple replies.
sub transmitting {
    my $socket = connected();
    hear($socket, 18);
    say_to($socket, pack("N", 3) . go(""));
    hear($socket, 20 + 14 + 20 + 12 + 20) // die "$scene: no export";
    return $socket;
}

sub simple {
    my ($socket) = @_;
    my ($magic, $error, $cookie) = unpack "N N Q>", hear($socket, 16) // die "$scene: the connection has ended";
    die "$scene: no reply" if $magic != 0x67446698 || $cookie != 77;
    return $error;
}

my %scenes = (
    # leaves after each byte of what a client says
    leave => sub {
        my $all = pack("N", 3) . option(3, "") . go("") . request(0, 0, 512) . request(1, 0, 512) . ("x" x 512);
        for my $n (0 .. length($all) - 1) {
            my $socket = connected();
            say_to($socket, substr $all, 0, $n);
        }
    },
    # says what makes no sense, at each place
    garbage => sub {
        my @before = ("", pack("N", 3), pack("N", 3) . option(8, ""), pack("N", 3) . go(""));
        for my $before (@before) {
            my $socket = connected();
            say_to($socket, $before . ("\x{ff}garbage!" x 8));
            1 while defined hear($socket, 1);
        }
    },
    # asks for what there is not; the connection goes on
    beyond => sub {
        my $size = shift;
        my $socket = transmitting();
        for ([0, $size, 1, 22], [0, $size - 1, 2, 22], [0, ~0 - 100, 512, 22], [0, 0, 0, 22], [0, 0, 0xffffffff, 75],
             [6, $size, 512, 28], [4, 0, 0, 22], [3, 512, 0, 22], [0, 0, 512, 22, 0x8000], [9, 0, 512, 22], [7, 0, 512, 22]) {
            say_to($socket, request(@$_[0 .. 2], $_->[4]));
            my $error = simple($socket);
            die "$scene: request @$_: error $error" if $error != $_->[3];
        }
        say_to($socket, request(1, $size, 512) . ("x" x 512) . request(3, 0, 0));
        die "$scene: a write past the end" if simple($socket) != 28;
        die "$scene: the flush" if simple($socket) != 0;
        say_to($socket, request(2, 0, 0));
        die "$scene: there is something after the end" if defined hear($socket, 1);
    },
    # a payload without an end
    endless => sub {
        my $socket = transmitting();
        say_to($socket, request(1, 0, 0xffffffff));
        die "$scene: no error" if simple($socket) != 22;
        die "$scene: the connection goes on" if defined hear($socket, 1);
    },
    # a payload that does not come; then many requests whose replies nobody hears
    vanish => sub {
        my $socket = transmitting();
        say_to($socket, request(1, 0, 4096) . ("y" x 100));
        close $socket;
        for (1 .. 20) {
            $socket = transmitting();
            say_to($socket, request(0, 0, 65536) x 200);
            close $socket;
        }
    },
    # each request is answered, once
    once => sub {
        my $socket = transmitting();
        my %open;
        for my $n (1 .. 2000) {
            say_to($socket, pack("N n n Q> Q> N", 0x25609513, 0, 0, $n, 0, 512));
            $open{$n} = 1;
            next if keys %open < 300 && $n < 2000;
            while (keys %open) {
                my ($magic, $error, $cookie) = unpack "N N Q>", hear($socket, 16);
                hear($socket, 512);
                delete $open{$cookie} or die "$scene: $cookie was not open";
            }
        }
        say_to($socket, request(2, 0, 0));
        die "$scene: there is more than was asked for" if defined hear($socket, 1);
    },
    # says nothing, until the server has had enough
    silent => sub {
        my @sockets = map { connected() } 1 .. 3;
        hear($_, 18) for @sockets;
        say_to($sockets[1], pack("N", 3));
        say_to($sockets[2], pack("N", 3) . "IHAVE");
        print "silent\n";
        STDOUT->flush;
        for (@sockets) { die "$scene: it speaks" if defined hear($_, 1) }
    },
    # very many at once
    crowd => sub {
        my @sockets = map { connected() } 1 .. shift;
        defined hear($_, 18) or die "$scene: no greeting" for @sockets;
    },
);
$scenes{$scene}->(@args);
