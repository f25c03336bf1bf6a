# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Persistent bitmaps without any of the programs.

# stored BITMAP [FILE]: its flags and granularity, and the runs of its set granules, from the bytes of the file
# (image.qcow2), as the specification has them.
stored() {
    perl -e 'use strict; local $/; open my $f, "<:raw", $ARGV[0] or die; my $d = <$f>;
        my ($cs, $size, $at) = (1 << unpack("x20N", $d), unpack("x24Q>", $d), unpack("x100N", $d));
        for (;; $at += 8 + ((unpack("x$at x4 N", $d) + 7) & ~7)) {
            my ($type, $n, $hoff) = (unpack("x$at N", $d), unpack("x$at x8 N", $d), unpack("x$at x24 Q>", $d));
            die "no bitmaps" if !$type;
            next if $type != 0x23852875;
            for (1 .. $n) {
                my ($table, $count, $flags, $t, $g, $nl, $el) = unpack("x$hoff Q>NNCCnN", $d);
                my $name = substr($d, $hoff + 24 + $el, $nl);
                $hoff += (24 + $el + $nl + 7) & ~7;
                next if $name ne $ARGV[1];
                printf "flags %d granularity %d\n", $flags, 1 << $g;
                my $bits = "";
                for my $e (unpack("x$table (Q>)$count", $d)) {
                    my $o = $e & 0xfffffffffffe00;
                    $bits .= $o ? unpack("x$o b" . $cs * 8, $d) : ($e & 1) x ($cs * 8);
                }
                my $valid = int(($size + (1 << $g) - 1) / (1 << $g));
                die "bits behind the end" if length $bits > $valid && substr($bits, $valid) =~ /1/;
                printf "%d+%d\n", $-[0], $+[0] - $-[0] while $bits =~ /1+/g;
                exit 0;
            }
            die "no bitmap $ARGV[1]";
        }' "${2:-image.qcow2}" "$1"
}
