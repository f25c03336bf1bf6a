# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2086,SC2034,SC2154,SC2206,SC2004,SC2030,SC2031,SC2017 # words without blanks; drawn numbers
# The operations on images with drawn features: see features.bash.  Each op_* returns when the image and what should be
# there have changed alike, or when the operation was refused as it should be; it may find that there is nothing to do.

# draw_range: sets AT and LENGTH, sectors of the disk.
draw_range() {
    choose $((SIZE / 512))
    AT=$((CHOICE * 512))
    choose $((RANDOM % 3 ? 100 : 20 + (4 << CLUSTER_BITS) / 512))
    LENGTH=$(((CHOICE + 1) * 512))
    [ $((AT + LENGTH)) -le $SIZE ] || LENGTH=$((SIZE - AT))
}

# draw_clusters: the same, whole clusters, or to the end of the disk.
draw_clusters() {
    local cluster=$((1 << CLUSTER_BITS))
    draw_range
    AT=$((AT / cluster * cluster))
    LENGTH=$(((LENGTH + cluster - 1) / cluster * cluster))
    [ $((AT + LENGTH)) -le $SIZE ] || LENGTH=$((SIZE - AT))
}

# One change of the disk: adds to COMMANDS, and to MODEL.
draw_change() {
    draw_range
    case $((RANDOM % 9)) in
    0 | 1 | 2) COMMANDS+=(-c "write -q -P $((RANDOM % 256)) $AT $LENGTH") && MODEL+=(-c "${COMMANDS[-1]}") ;;
    3) COMMANDS+=(-c "write -q -s noise.bin $AT $LENGTH") && MODEL+=(-c "${COMMANDS[-1]}") ;;
    4) COMMANDS+=(-c "write -q -z $AT $LENGTH") && MODEL+=(-c "write -q -z $AT $LENGTH") ;;
    5) COMMANDS+=(-c "write -q -z -u $AT $LENGTH") && MODEL+=(-c "write -q -z $AT $LENGTH") ;;
    6 | 7)
        # version 2 cannot say that it hides a backing file
        [ $VERSION = 3 ] || return 0
        draw_clusters
        COMMANDS+=(-c "discard -q $AT $LENGTH") && MODEL+=(-c "write -q -z $AT $LENGTH")
        ;;
    8)
        [ $PROGRAM = byre ] && [ $DATA = none ] && [ $CRYPT = none ] || return 0
        draw_clusters
        COMMANDS+=(-c "write -q -c -P $((RANDOM % 256)) $AT $LENGTH")
        MODEL+=(-c "${COMMANDS[-1]/ -c / }")
        ;;
    esac
    changed $AT $LENGTH
}

op_write() {
    local i io=qemu-io more=()
    pick byre byre qemu
    PROGRAM=$PICKED COMMANDS=() MODEL=()
    for ((i = RANDOM % 8; i >= 0; i--)); do
        draw_change
    done
    # qemu-io ends with an assertion at times
    if [ $BACKING != none ] && [ $PROGRAM = byre ] && one_in 3; then
        more=(-C)
        draw_range
        COMMANDS+=(-c "read -q $AT $LENGTH")
    fi
    [ ${#COMMANDS[@]} -gt 0 ] || return 0
    say "$PROGRAM io ${more[*]} $(printf '%q ' "${COMMANDS[@]}")"
    [ $PROGRAM != byre ] || io="$BYRE io"
    # shellcheck disable=SC2086 # two words
    run_ok $io "${more[@]}" "${PASSWORD[@]}" -d unmap "${COMMANDS[@]}" --image-opts "$IMAGE"
    assert_equal '' "$OUT" 'what io says'
    [ ${#MODEL[@]} = 0 ] || qemu_io -f raw "${MODEL[@]}" disk.raw
}

# The program that does what either of them can do.
draw_tool() {
    TOOL=$BYRE
    if one_in 4; then
        TOOL=qemu-img
    fi
}

op_snapshot_create() {
    local name=s$((++NAMES))
    draw_tool
    say "$(basename "$TOOL") snapshot -c $name"
    if [ $DATA != none ]; then
        refused 'Could not create snapshot' "$BYRE" snapshot -c $name "${PASSWORD[@]}" --image-opts "$IMAGE"
        return
    fi
    cp image.qcow2 before.qcow2
    run "$BYRE" snapshot -c $name "${PASSWORD[@]}" --image-opts "$IMAGE"
    if [ "$CODE" != 0 ]; then
        assert_match 'can count' "$ERR"
        [ $BITS -lt 16 ] || fail "refused: $ERR"
        assert_same_file before.qcow2 image.qcow2
        say "refused: full counts"
        return
    fi
    if [ "$TOOL" = qemu-img ]; then
        cp before.qcow2 image.qcow2
        run_ok qemu-img snapshot -c $name "${PASSWORD[@]}" --image-opts "$IMAGE"
    fi
    SNAPSHOTS+=("$name")
    cp disk.raw $name.snap
    echo -n "$VM_STATE" >$name.state
}

op_snapshot_apply() {
    local name
    [ ${#SNAPSHOTS[@]} -gt 0 ] || return 0
    pick "${SNAPSHOTS[@]}"
    name=$PICKED
    say "snapshot -a $name"
    if [ ${#BITMAPS[@]} -gt 0 ]; then
        refused 'Device has active dirty bitmaps' "$BYRE" snapshot -a "$name" "${PASSWORD[@]}" --image-opts "$IMAGE"
        return
    fi
    run_ok "$BYRE" snapshot -a "$name" "${PASSWORD[@]}" --image-opts "$IMAGE"
    cp "$name.snap" disk.raw
    VM_STATE=$(cat "$name.state")
    SHRUNK=yes
    SIZE=$(file_size disk.raw)
}

op_snapshot_delete() {
    local name left=() other
    [ ${#SNAPSHOTS[@]} -gt 0 ] || return 0
    pick "${SNAPSHOTS[@]}"
    name=$PICKED
    draw_tool
    say "$(basename "$TOOL") snapshot -d $name"
    run_ok "$TOOL" snapshot -d "$name" "${PASSWORD[@]}" --image-opts "$IMAGE"
    for other in "${SNAPSHOTS[@]}"; do
        [ "$other" = "$name" ] || left+=("$other")
    done
    SNAPSHOTS=("${left[@]}")
}

op_bitmap_add() {
    local name=b$((++NAMES)) enabled=yes more=()
    pick 512 4096 65536 1048576
    GRANULARITY[$name]=$PICKED
    if one_in 3; then
        enabled=
        more=(--disable)
    fi
    say "bitmap --add $name ${more[*]} -g $PICKED"
    if [ $VERSION = 2 ]; then
        refused 'bitmap' "$BYRE" bitmap --add "${PASSWORD[@]}" --image-opts "$IMAGE" $name
        return
    fi
    draw_tool
    run_ok "$TOOL" bitmap --add "${more[@]}" -g "$PICKED" "${PASSWORD[@]}" --image-opts "$IMAGE" $name
    BITMAPS+=("$name")
    ENABLED[$name]=$enabled
    : >$name.log
}

# op_bitmap_change: one of the rest of what is done to bitmaps.
op_bitmap_change() {
    local name other left=() what
    [ ${#BITMAPS[@]} -gt 0 ] || return 0
    pick "${BITMAPS[@]}"
    name=$PICKED
    pick "${BITMAPS[@]}"
    other=$PICKED
    pick clear enable disable remove merge merge
    what=$PICKED
    draw_tool
    say "$(basename "$TOOL") bitmap --$what $name ($other)"
    case $what in
    merge)
        run_ok "$TOOL" bitmap --merge "$other" "${PASSWORD[@]}" --image-opts "$IMAGE" "$name"
        expected "$other" | awk -v g="${GRANULARITY[$other]}" -F+ -v size=$SIZE 'NR > 1 {
            end = ($1 + $2) * g
            print "dirty", $1 * g, (end > size ? size : end) - $1 * g }' >merged
        cat merged >>"$name.log"
        return
        ;;
    clear) : >"$name.log" ;;
    enable) ENABLED[$name]=yes ;;
    disable) ENABLED[$name]= ;;
    remove)
        for other in "${BITMAPS[@]}"; do
            [ "$other" = "$name" ] || left+=("$other")
        done
        BITMAPS=("${left[@]}")
        ;;
    esac
    run_ok "$TOOL" bitmap "--$what" "${PASSWORD[@]}" --image-opts "$IMAGE" "$name"
}

op_resize() {
    local size more=() name mode
    size=$SIZE
    draw_size
    [ $SIZE != $size ] || return 0
    [ $SIZE -gt $size ] || more=(--shrink)
    draw_tool
    # A disk that gets larger again by qemu-img shows what was in the last cluster before it got smaller;
    # and it cannot hide a backing file in version 2.
    if [ $SIZE -lt $size ]; then
        SHRUNK=yes
    elif [ $SHRUNK ] || { [ $VERSION = 2 ] && [ $BACKING != none ]; }; then
        TOOL=$BYRE
    fi
    [ -z "$STATES" ] && [ $DATA$CRYPT != rawluks ] || TOOL=$BYRE
    if [ $SIZE -gt $size ] && one_in 3; then
        TOOL=$BYRE
        pick metadata falloc full
        more=(--preallocation="$PICKED")
    fi
    say "$(basename "$TOOL") resize ${more[*]} from $size to $SIZE"
    if [ $VERSION = 2 ] && [ ${#SNAPSHOTS[@]} -gt 0 ]; then
        SIZE=$size
        refused 'v2 image which has snapshots' "$BYRE" resize -q --shrink "${PASSWORD[@]}" --image-opts "$IMAGE" 512
        return
    fi
    run_ok "$TOOL" resize -q "${more[@]}" "${PASSWORD[@]}" --image-opts "$IMAGE" $SIZE
    truncate -s $SIZE disk.raw
    VM_STATE=
    for name in "${BITMAPS[@]}"; do
        echo "size $SIZE" >>"$name.log"
    done
}

# A copy with other features, by byre; the image is only read, and the copy judged.
op_convert() {
    local more=() source=disk.raw seed
    choose 1000000
    seed=$CHOICE
    choose 4
    if [ ${#SNAPSHOTS[@]} -gt 0 ] && [ $CHOICE = 0 ]; then
        pick "${SNAPSHOTS[@]}"
        more=(-l "snapshot.name=$PICKED")
        source=$PICKED.snap
    elif [ $CHOICE -gt 1 ] && [ $VERSION = 3 ]; then
        more=(--bitmaps)
    fi
    (
        RANDOM=$seed
        draw_features
        BACKING=none
        [[ ${more[*]} != --bitmaps ]] || [ $VERSION = 3 ] || exit 0
        if one_in 3 && [ $DATA = none ] && [ $CRYPT = none ]; then
            more+=(-c)
        fi
        rm -f copy.qcow2 copy.qcow2.data
        say "convert ${more[*]} -o $(features_options copy.qcow2)"
        run_ok "$BYRE" convert "${PASSWORD[@]}" "${more[@]}" --image-opts -O qcow2 \
            -o "$(features_options copy.qcow2)" "$IMAGE" copy.qcow2
        judge_copy
    ) || fail 'in the copy'
}

# The disk comes out of an image with the encryption of old, or out of a snapshot of that: for reading only.
op_convert_aes() {
    local source=disk.raw more=() seed options
    local old=driver=qcow2,encrypt.key-secret=s,file.filename=aes.qcow2
    choose 1000000
    seed=$CHOICE
    pick compat=v2 compat=v3 compat=v3,refcount_bits=8
    options=$PICKED
    pick 512 4096 65536
    options+=,cluster_size=$PICKED,encrypt.format=aes,encrypt.key-secret=s
    say "convert of an image with $options"
    rm -f aes.qcow2
    qemu-img convert "${PASSWORD[@]}" -f raw -O qcow2 -o $options disk.raw aes.qcow2
    if one_in 2; then
        qemu-img snapshot "${PASSWORD[@]}" -c old --image-opts $old
        qemu_io "${PASSWORD[@]}" -c 'write -q -P 99 0 512' --image-opts $old
        more=(-l old)
    fi
    md5sum aes.qcow2 >aes.sum
    refused_aes "$BYRE" amend -q "${PASSWORD[@]}" -o lazy_refcounts=off --image-opts $old
    (
        RANDOM=$seed
        draw_features
        BACKING=none
        rm -f copy.qcow2 copy.qcow2.data
        run_ok "$BYRE" convert "${PASSWORD[@]}" "${more[@]}" --image-opts -O qcow2 \
            -o "$(features_options copy.qcow2)" $old copy.qcow2
        judge_copy
    ) || fail 'in the copy'
    run_ok md5sum --status -c aes.sum
}

refused_aes() {
    run_fails 1 'AES-CBC encryption .* is for reading only' "$@"
    run_ok md5sum --status -c aes.sum
}

# What op_convert has made.
judge_copy() {
    local copy name
    copy=$(access copy.qcow2)
    run_ok "$BYRE" check -q "${PASSWORD[@]}" --image-opts "$copy"
    run_ok qemu-img check -q "${PASSWORD[@]}" --image-opts "$copy"
    judge_disk "$source" "$copy"
    judge_disk_of_qemu "$source" "$copy"
    [[ ${more[*]} == --bitmaps* ]] || return 0
    for name in "${BITMAPS[@]}"; do
        judge_bitmap "$name" copy.qcow2
    done
}

# The disk comes from elsewhere, into the image as it is.
op_convert_into() {
    local length=$((SIZE - RANDOM % 3 * 512 * (SIZE > 2048)))
    rm -f other.raw
    truncate -s $length other.raw
    qemu_io -f raw -c "write -q -P $((RANDOM % 256)) 0 $((length / 3 / 512 * 512))" other.raw
    say "convert -n of $length bytes"
    run_ok "$BYRE" convert "${PASSWORD[@]}" -n -f raw --target-image-opts other.raw "$IMAGE"
    dd if=other.raw of=disk.raw conv=notrunc bs=64k status=none
    changed 0 $length
}

# damage KIND NUMBER: spoils what can be found out from the rest.  Prints what it has done.
damage() {
    perl -e 'use strict; my ($file, $kind, $draw) = @ARGV; local $/; open my $f, "+<:raw", $file or die; my $d = <$f>;
        my ($cb, $l1n, $l1, $rt) = unpack("x20N x12 N Q> Q>", $d);
        my ($version, $cs) = (unpack("x4N", $d), 1 << $cb);
        my $order = $version > 2 ? unpack("x96N", $d) : 4;
        my $put = sub { my ($at, $bytes) = @_; seek $f, $at, 0; print $f $bytes; };
        my @blocks = grep { $_ } unpack("x$rt (Q>)" . $cs / 8, $d);
        my $block = $blocks[$draw % @blocks] & ~511;
        my @l1 = unpack("x$l1 (Q>)$l1n", $d);
        my @used = grep { $l1[$_] } 0 .. $#l1;
        if ($kind eq "block") {
            printf "refcount block at %#x is empty\n", $block;
            $put->($block, "\0" x $cs);
        } elsif ($kind eq "count") {
            # neither program looks at counts past the end of the file
            my $at = $blocks[0] + $draw % (((length($d) >> $cb) << $order >> 3) || 1);
            printf "refcount byte at %#x\n", $at;
            $put->($at, chr(ord(substr($d, $at, 1)) ^ 1));
        } elsif ($kind eq "table") {
            printf "no refcount table\n";
            $put->($rt, "\0" x 8);
        } elsif ($kind eq "dirty" && $version > 2) {
            printf "dirty\n";
            $put->(79, chr(ord(substr($d, 79, 1)) | 1));
        } elsif ($kind eq "copied" && @used) {
            my $i = $used[$draw % @used];
            printf "COPIED of L1 entry $i\n";
            $put->($l1 + 8 * $i, pack("Q>", $l1[$i] ^ (1 << 63)));
        } elsif ($kind eq "l2" && @used) {
            my $table = $l1[$used[$draw % @used]] & 0xfffffffffffe00;
            my $size = unpack("x72Q>", $d) & 16 && $version > 2 ? 16 : 8;
            for my $i (0 .. $cs / $size - 1) {
                my $at = $table + $size * $i;
                my $entry = unpack("x$at Q>", $d);
                next if !($entry & 0xfffffffffffe00) || $entry & (1 << 62);
                printf "COPIED of the entry at %#x\n", $at;
                $put->($at, pack("Q>", $entry ^ (1 << 63)));
                last if $i % 3 == 1;
            }
        } else { printf "nothing\n" }' image.qcow2 "$1" "$2"
}

op_repair() {
    pick block count table dirty copied l2
    choose 1000000 # here: a subshell draws something else each time
    say "damage: $(damage "$PICKED" $CHOICE)"
    run "$BYRE" check -r all "${PASSWORD[@]}" --image-opts "$IMAGE"
    [ "$CODE" = 0 ] || fail "check -r all exits with $CODE: $OUT$ERR"
}
