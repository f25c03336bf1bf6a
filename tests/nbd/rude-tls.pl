# SPDX-License-Identifier: BSD-3-Clause
# A client without manners, where a server wants TLS: perl rude-tls.pl SOCKET SCENE NAME.  NAME is that of an export.
# Dies with words if the server is not as it should be.
use strict;
use warnings;
use File::Basename;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;

our $scene;
(my $path, $scene, my $name, my @args) = @ARGV;
require(dirname(__FILE__) . "/talk.pl");
$SIG{PIPE} = "IGNORE";
my $reply = pack "H*", "0003e889045565a9";

sub connected {
    my $socket = IO::Socket::UNIX->new(Peer => $path) or die "connect: $!";
    hear($socket, 18) // die "$scene: no greeting";
    return $socket;
}

# All that comes until the end.
sub hear_all {
    my ($socket) = @_;
    my ($all, $byte) = ("");
    $all .= $byte while defined($byte = hear($socket, 1));
    return $all;
}

sub option { return pack("a8 N N/a*", "IHAVEOPT", @_) }
sub go { return option($_[0], pack("N/a* n", $_[1], 0)) }
sub contexts { return option($_[0], pack("N/a* N N/a*", $_[1], 1, "base:allocation")) }

# The answer to one option: its kind and its bytes; undef at the end.
sub answer {
    my ($socket) = @_;
    my $head = hear($socket, 20) // return;
    my ($magic, $option, $kind, $length) = unpack "Q> N N N", $head;
    return ($kind, hear($socket, $length) // die "$scene: half an answer");
}

# After STARTTLS.
sub shaking {
    my $socket = connected();
    say_to($socket, pack("N", 3) . option(5, ""));
    my ($kind) = answer($socket);
    die "$scene: no TLS" if !defined $kind || $kind != 1;
    return $socket;
}

# What a real client says first.
sub client_hello {
    my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1) or die "listen: $!";
    my $child = fork // die "fork: $!";
    if (!$child) {
        open STDIN, "<", "/dev/null";
        open STDOUT, ">", "/dev/null";
        open STDERR, ">", "/dev/null";
        exec "gnutls-cli", "--insecure", "-p", $listener->sockport, "127.0.0.1" or exit 1;
    }
    my $socket = $listener->accept or die "accept: $!";
    my $head = hear($socket, 5) // die "$scene: gnutls-cli does not speak";
    my $hello = $head . hear($socket, unpack "x3 n", $head);
    close $socket;
    waitpid $child, 0;
    return $hello;
}

# Does the server end the connection, and tell nothing of the export?
sub ends {
    my ($socket) = @_;
    my $all = hear_all($socket);
    die "$scene: the name is told" if index($all, $name) >= 0;
    return $all;
}

my %scenes = (
    # in the clear all that there is to learn is that TLS is wanted, of all names alike
    ignorant => sub {
        my %said;
        for my $try ($name, "nothing", "") {
            my $socket = connected();
            say_to($socket, pack("N", 3));
            for ([3, option(3, "")], [6, go(6, $try)], [7, go(7, $try)], [8, option(8, "")], [9, contexts(9, $try)],
                 [10, contexts(10, $try)], [11, option(11, "")], [77, option(77, $try)]) {
                say_to($socket, $_->[1]);
                my ($kind, $text) = answer($socket);
                die "$scene: option $_->[0] is answered" if !defined $kind || $kind != 0x80000005;
                die "$scene: option $_->[0] tells more of one name" if ($said{$_->[0]} //= $text) ne $text;
            }
            say_to($socket, option(1, $try));
            die "$scene: EXPORT_NAME is answered" if ends($socket) ne "";
        }
    },
    # bytes in the clear along with the wish for TLS, or behind it, are never taken for options
    inject => sub {
        for my $more (option(3, ""), "I", go(7, $name), option(3, "") x 1000) {
            my $socket = connected();
            say_to($socket, pack("N", 3) . option(5, "") . $more);
            my $all = ends($socket);
            die "$scene: more than a yes was said" if $all ne $reply . pack("N N N", 5, 1, 0) && $all ne "";
            $socket = shaking();
            say_to($socket, $more);
            shutdown $socket, 1;
            die "$scene: an option was answered" if index(ends($socket), $reply) >= 0;
        }
    },
    # leaves after each byte; or stays, and the byte is another one
    broken => sub {
        my $hello = client_hello();
        for my $n (0 .. length($hello) - 1) {
            my $socket = shaking();
            say_to($socket, substr $hello, 0, $n);
            shutdown $socket, 1 if $n % 2;
            ends($socket) if $n % 2;
            my $other = $hello;
            substr($other, $n, 1) = chr(255 - ord substr $other, $n, 1);
            $socket = shaking();
            say_to($socket, $other);
            shutdown $socket, 1;
            ends($socket) if $n % 4 == 0;
        }
        for my $garbage ("\0" x 100000, "\xff" x 100000, "GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\xff\xff" . "x" x 70000) {
            my $socket = shaking();
            say_to($socket, $garbage);
            shutdown $socket, 1;
            ends($socket);
        }
    },
    # falls silent within the handshake, very often, until the server has had enough
    stuck => sub {
        my $hello = client_hello();
        my @sockets = map { shaking() } 1 .. shift @args;
        say_to($sockets[$_], substr $hello, 0, $_ % length $hello) for 0 .. $#sockets;
        say_to($sockets[$_], $hello) for grep { $_ % 10 == 0 } 0 .. $#sockets;
        print "stuck\n";
        STDOUT->flush;
        ends($_) for @sockets;
    },
);
$scenes{$scene}->();
