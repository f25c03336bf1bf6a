# SPDX-License-Identifier: BSD-3-Clause
# An NBD client without manners: perl rude.pl SOCKET SCENE.  Dies with words if the server is not as it should be.
use strict;
use warnings;
use File::Basename;
use IO::Select;
use IO::Socket::UNIX;

our $scene;
(my $path, $scene, my @args) = @ARGV;
require(dirname(__FILE__) . "/talk.pl");

sub connected {
    my $socket = IO::Socket::UNIX->new(Peer => $path) or die "connect: $!";
    return $socket;
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

# In the handshake.
sub options {
    my $socket = connected();
    hear($socket, 18);
    say_to($socket, pack("N", 3));
    return $socket;
}

# The next reply to this option: its type and data.
sub reply {
    my ($socket, $option) = @_;
    my ($magic, $of, $type, $length) = unpack "Q> N N N", hear($socket, 20) // die "$scene: the connection has ended";
    die "$scene: no reply to $option" if $magic != (0x3e889 << 32 | 0x045565a9) || $of != $option;
    return ($type, $length ? hear($socket, $length) : "");
}

sub simple {
    my ($socket) = @_;
    my ($magic, $error, $cookie) = unpack "N N Q>", hear($socket, 16) // die "$scene: the connection has ended";
    die "$scene: no reply" if $magic != 0x67446698 || $cookie != 77;
    return $error;
}

my %scenes = (
    # is not let in for a while, and hears the greeting in the end
    patient => sub {
        my $socket = connected();
        die "$scene: it is let in" if IO::Select->new($socket)->can_read(0.5);
        $| = 1;
        print "unheard\n";
        hear($socket, 18) // die "$scene: the connection has ended";
    },
    # leaves after each byte of what a client says
    leave => sub {
        my $all = pack("N", 3) . option(3, "") . go("") . request(0, 0, 512) . request(1, 0, 512) . ("x" x 512);
        for my $n (0 .. length($all) - 1) {
            my $socket = connected();
            say_to($socket, substr $all, 0, $n);
        }
    },
    # after each byte of what a client says comes what makes no sense, and then nothing
    nonsense => sub {
        my $all = pack("N", 3) . option(8, "") . option(10, pack("N/a* N N/a*", "", 1, "base:allocation")) . go("");
        for my $n (0 .. length $all) {
            my $socket = connected();
            say_to($socket, substr($all, 0, $n) . ("\x{ff}\x{00}\x{e5}" x 40));
            shutdown $socket, 1;
            1 while defined hear($socket, 1);
        }
    },
    # names of all lengths; the server has one of 4096 bytes and none of 4095
    names => sub {
        my %known = map { $_ => 1 } 4096;
        for my $length (0, 1, 4095, 4096) {
            my $name = "x" x $length;
            my $socket = options();
            say_to($socket, go($name));
            my ($type) = reply($socket, 7);
            ($type) = reply($socket, 7) while $type == 3;
            die "$scene: $length: $type" if $type != ($known{$length} ? 1 : 0x80000006);
            $socket = options();
            say_to($socket, option(1, $name));
            die "$scene: EXPORT_NAME, $length" if defined hear($socket, 10) != ($known{$length} // 0);
        }
        my $socket = options();
        say_to($socket, option(8, ""));
        reply($socket, 8);
        for my $length (4097, 8000, 60000) {
            for my $type (6, 7) {
                say_to($socket, option($type, pack("N/a* n", "x" x $length, 0)));
                die "$scene: $length" if (reply($socket, $type))[0] != 0x80000009;
            }
            say_to($socket, option(9, pack("N/a* N", "x" x $length, 0)));
            die "$scene: $length" if (reply($socket, 9))[0] != 0x80000009;
        }
        for my $type (6, 7, 9, 10) { # the name says that it is longer than it can be
            for my $length (7, 4097, 0x7fffffff, 0xfffffff0, 0xffffffff) {
                say_to($socket, option($type, pack("N a6", $length, "xxxxxx")));
                die "$scene: a name of $length bytes" if (reply($socket, $type))[0] != 0x80000003;
            }
        }
        say_to($socket, option(1, "x" x 4097));
        die "$scene: EXPORT_NAME, 4097" if defined hear($socket, 1);
        $socket = options();
        say_to($socket, pack("a8 N N", "IHAVEOPT", 1, 0xffffffff) . ("x" x 5000));
        die "$scene: EXPORT_NAME, 4 G" if defined hear($socket, 1);
    },
    # lengths of options that are not what is in them
    lies => sub {
        my $socket = options();
        for my $bad ([3, "x"], [8, "x"], [5, "x"], [11, "\0\0\0\0"], [7, ""], [7, "\0\0\0"], [7, pack("N n", 0, 1)],
                     [7, pack("N n n", 0, 0, 0)], [7, pack("N n", 1, 0)], [6, pack("N a1 n", 1, "x", 0xffff)]) {
            say_to($socket, option(@$bad));
            die "$scene: option $bad->[0]" if (reply($socket, $bad->[0]))[0] != 0x80000003;
        }
        say_to($socket, option(8, ""));
        die "$scene: structured replies" if (reply($socket, 8))[0] != 1;
        for my $bad ("", "\0", pack("N", 0), pack("N N", 0, 1), pack("N N N", 0, 1, 5), pack("N N N/a*", 0, 0, "a:b"),
                     pack("N N N/a*", 0, 0xffffffff, "a:b"), pack("N N N a3", 0, 1, 0xffffffff, "a:b")) {
            for my $type (9, 10) {
                say_to($socket, option($type, $bad));
                die "$scene: contexts" if (reply($socket, $type))[0] != 0x80000003;
            }
        }
        # longer than all that makes sense, and then as it should be
        say_to($socket, option(99, "x" x 100000) . option(7, "y" x 70000) . option(98, ""));
        for ([99, 0x80000009], [7, 0x80000009], [98, 0x80000001]) {
            my ($type) = reply($socket, $_->[0]);
            die "$scene: long option $_->[0]: $type" if $type != $_->[1];
        }
        say_to($socket, pack("a8 N N", "IHAVEOPT", 3, 0xffffffff));
        die "$scene: 4 G" if defined hear($socket, 1);
        # flags that nobody has
        $socket = connected();
        hear($socket, 18);
        say_to($socket, pack("N", 0x80000003));
        die "$scene: flags" if defined hear($socket, 1);
    },
    # asks, and does not listen: the server stops to listen, too, and nothing is lost
    deaf => sub {
        my $socket = options();
        my ($one, $sent) = (option(3, ""), 0);
        my $left = $one x 1000000;
        $socket->blocking(0);
        while ((my $n = syswrite($socket, $left) // -1) >= 0 or IO::Select->new($socket)->can_write(1)) {
            $n > 0 or next;
            substr $left, 0, $n, "";
            $sent += $n;
            die "$scene: the server takes all there is" if $sent > 8000000;
        }
        $socket->blocking(1);
        my $whole = int(($sent + 15) / 16);
        say_to($socket, substr $one, $sent % 16) if $sent % 16;
        for (1 .. $whole) {
            my ($type) = reply($socket, 3);
            ($type) = reply($socket, 3) while $type == 2;
            die "$scene: $type" if $type != 1;
        }
        say_to($socket, option(2, ""));
        die "$scene: ABORT" if (reply($socket, 2))[0] != 1;
    },
    # a payload that is begun, and an option; both wait until the server ends
    stall => sub {
        my $writer = transmitting();
        say_to($writer, request(1, 0, 65536) . ("y" x 100));
        my $option = options();
        say_to($option, pack("a8 N N", "IHAVEOPT", 7, 1000) . "z");
        print "silent\n";
        STDOUT->flush;
        die "$scene: the writer is answered" if defined hear($writer, 1);
        die "$scene: the option is answered" if defined hear($option, 1);
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
    # very many at once, who are still greeting, and as many who read
    crowd => sub {
        my $count = shift;
        my @sockets = map { connected() } 1 .. $count / 2;
        defined hear($_, 18) or die "$scene: no greeting" for @sockets;
        my @readers = map { transmitting() } 1 .. $count / 2;
        say_to($_, request(0, 0, 512) x 3) for @readers;
        for my $reader (@readers) {
            for (1 .. 3) {
                die "$scene: an error" if simple($reader);
                hear($reader, 512) // die "$scene: no data";
            }
        }
    },
);
$scenes{$scene}->(@args);
