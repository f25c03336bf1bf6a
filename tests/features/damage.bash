# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2086,SC2034,SC2154,SC2004 # words without blanks; drawn numbers
# Damage to the tables of snapshots and bitmaps of images with drawn features, and its repair: see features.bash.

# damage_tables KIND NUMBER: spoils what NUMBER chooses.  Prints what it has done, in the first line; then the names of
# bitmaps that are not to survive.
damage_tables() {
    perl -e 'use strict; my ($file, $kind, $draw) = @ARGV; local $/; open my $f, "+<:raw", $file or die; my $d = <$f>;
        my $mask = 0xfffffffffffe00;
        my ($cb, $rt, $rn, $sn, $st) = unpack("x20N x24 Q> N N Q>", $d);
        my ($version, $cs) = (unpack("x4N", $d), 1 << $cb);
        my $order = $version > 2 ? unpack("x96N", $d) : 4;
        my $size = $version > 2 && unpack("x72Q>", $d) & 16 ? 16 : 8;
        my ($said, @lost) = "nothing";
        my $word = sub { unpack("x$_[0] Q>", $d) };
        my $put = sub { my ($at, $bytes) = @_; seek $f, $at, 0; print $f $bytes; };
        my $spoil = sub { my ($at, $value, $what) = @_; $put->($at, pack("Q>", $value)); $said = sprintf "%s at %#x", $what, $at; };
        my $draw_of = sub { my $n = $draw % @_; $draw = int($draw / @_); $_[$n] };
        # where everything is
        my (@snapshots, @l1, @l2, @metadata, %bitmaps, @directory);
        my $at = $st;
        for (1 .. $sn) {
            my ($l1, $n, $il, $nl, $el) = unpack("x$at Q> N n n x16 x4 N", $d);
            push @snapshots, [ $at, $l1, $n ];
            push @l1, grep { $word->($_) & $mask } map { $l1 + 8 * $_ } 0 .. $n - 1;
            push @metadata, $l1;
            $at += (40 + $el + $il + $nl + 7) & ~7;
        }
        push @metadata, $st if $sn;
        for my $l1 (@l1) {
            my $table = $word->($l1) & $mask;
            push @l2, grep { my $e = $word->($_); $e & $mask && !($e & 1 << 62) } map { $table + $size * $_ } 0 .. $cs / $size - 1;
        }
        $at = $version > 2 ? unpack("x100N", $d) : $cs;
        while ($at < $cs and my ($type, $n) = unpack("x$at N N", $d)) {
            last if !$type;
            if ($type == 0x23852875) {
                my ($count, undef, $length, $hoff) = unpack("x$at x8 N N Q> Q>", $d);
                push @metadata, $hoff;
                for (1 .. $count) {
                    my ($table, $entries, undef, undef, undef, $nl, $el) = unpack("x$hoff Q> N N C C n N", $d);
                    my $name = substr($d, $hoff + 24 + $el, $nl);
                    $bitmaps{$name} = [ $hoff, $table, $entries ];
                    push @metadata, $table if $entries;
                    $hoff += (24 + $el + $nl + 7) & ~7;
                }
            }
            $at += 8 + (($n + 7) & ~7);
        }
        my @names = sort keys %bitmaps;
        if ($kind eq "l1-reserved" && @l1) {
            my $l1 = $draw_of->(@l1);
            $spoil->($l1, $word->($l1) | $draw_of->(1 << 56, 1 << 62, 1, 1 << 8), "reserved bit of a snapshot L1 entry");
        } elsif ($kind eq "l1-copied" && @l1) {
            my $l1 = $draw_of->(@l1);
            $spoil->($l1, $word->($l1) ^ 1 << 63, "COPIED of a snapshot L1 entry");
        } elsif ($kind eq "l2-reserved" && @l2) {
            my $l2 = $draw_of->(@l2);
            $spoil->($l2, $word->($l2) | $draw_of->(1 << 56, 1 << 61, 2, 1 << 8), "reserved bit of a snapshot L2 entry");
        } elsif ($kind eq "l2-copied" && @l2) {
            for (1 .. 3) {
                my $l2 = $draw_of->(@l2);
                $spoil->($l2, $word->($l2) ^ 1 << 63, "COPIED of snapshot L2 entries");
            }
        } elsif ($kind eq "l1-unaligned" && @snapshots && $cs > 512) {
            my ($entry, $l1) = @{$draw_of->(@snapshots)};
            $spoil->($entry, $l1 | 512, "unaligned L1 table of a snapshot");
        } elsif ($kind eq "count" && @metadata) {
            my $cluster = $draw_of->(@metadata) >> $cb;
            my $block = $word->($rt + 8 * ($cluster >> $cb + 3 - $order)) & $mask;
            my $bit = ($cluster & (1 << $cb + 3 - $order) - 1) << $order;
            # the lowest bit of the count
            my $byte = $block + ($bit >> 3) + ($order > 3 ? (1 << $order - 3) - 1 : 0);
            $put->($byte, chr(ord(substr($d, $byte, 1)) ^ 1 << ($order < 3 ? $bit & 7 : 0)));
            $said = sprintf "count of the metadata in cluster %d", $cluster;
        } elsif ($kind eq "bitmap-reserved" && @names) {
            my $name = $draw_of->(@names);
            my ($hoff, $table, $entries) = @{$bitmaps{$name}};
            if ($entries) {
                my $entry = $table + 8 * ($draw % $entries);
                $spoil->($entry, $word->($entry) | 1 << 60, "reserved bit of a bitmap table");
                push @lost, $name;
            }
        } elsif ($kind eq "bitmap-in-use" && @names) {
            my $name = $draw_of->(@names);
            my $at = $bitmaps{$name}[0] + 12;
            $put->($at, pack("N", unpack("x$at N", $d) | 1));
            $said = "bitmap $name is in use";
            push @lost, $name;
        } elsif ($kind eq "bitmap-granularity" && @names) {
            my $name = $draw_of->(@names);
            $put->($bitmaps{$name}[0] + 17, chr(99));
            $said = "the granularity of $name is absurd";
            push @lost, "all";
        }
        print join("\n", $said, @lost), "\n"' image.qcow2 "$1" "$2"
}

# Bitmaps that are inconsistent are told so, and can be removed; nothing else is done to them.
remove_lost() {
    local name lost other left
    for lost in "$@"; do
        if [ "$lost" = all ]; then
            BITMAPS=()
            run "$BYRE" bitmap --add "${PASSWORD[@]}" --image-opts "$IMAGE" new
            assert_equal 0 "$CODE" "adding a bitmap where all are void ($ERR)"
            assert_match 'all bitmaps are now considered inconsistent' "$ERR"
            run_ok "$BYRE" bitmap --remove "${PASSWORD[@]}" --image-opts "$IMAGE" new
            return
        fi
        left=()
        for other in "${BITMAPS[@]}"; do
            [ "$other" = "$lost" ] || left+=("$other")
        done
        assert_equal "$((${#left[@]} + 1))" ${#BITMAPS[@]} "bitmaps without $lost"
        BITMAPS=("${left[@]}")
        assert_match 'flags 1|flags 3' "$(stored "$lost" image.qcow2)"
        run_fails 1 'inconsistent' "$BYRE" bitmap --clear "${PASSWORD[@]}" --image-opts "$IMAGE" "$lost"
        run_ok "$BYRE" bitmap --remove "${PASSWORD[@]}" --image-opts "$IMAGE" "$lost"
    done
}

op_repair_tables() {
    local lost=() said
    pick l1-reserved l1-copied l2-reserved l2-copied l1-unaligned count bitmap-reserved bitmap-in-use bitmap-granularity
    choose 100000000
    damage_tables "$PICKED" $CHOICE >damage.out
    { read -r said && mapfile -t lost; } <damage.out
    say "damage: $PICKED: $said"
    run "$BYRE" check -r all "${PASSWORD[@]}" --image-opts "$IMAGE"
    [ "$CODE" = 0 ] || fail "check -r all exits with $CODE: $OUT$ERR"
    run qemu-img check "${PASSWORD[@]}" --image-opts "$IMAGE"
    [ "$CODE" = 0 ] || fail "qemu-img check exits with $CODE: $OUT$ERR"
    remove_lost "${lost[@]}"
}
