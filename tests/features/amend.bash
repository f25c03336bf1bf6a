# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2086,SC2034,SC2154,SC2004 # words without blanks; drawn numbers
# Drawn amendments of images with drawn features: see features.bash.
#
# An amendment has one to three parts.  Each part that is drawn adds to PARTS, and notes in NEXT what the image is to be
# afterwards; judge_parts adds to WHY what complaint each part deserves that the image cannot have in the end.

# The highest count of image.qcow2.
highest_count() {
    perl -e 'use strict; local $/; open my $f, "<:raw", $ARGV[0] or die; my $d = <$f>; my $most = 0;
        my ($cs, $rt, $n) = (1 << unpack("x20N", $d), unpack("x48 Q> N", $d));
        my $bits = unpack("x4N", $d) > 2 ? 1 << unpack("x96N", $d) : 16;
        for my $block (grep { $_ } unpack("x$rt (Q>)" . $n * $cs / 8, $d)) {
            my $bytes = substr($d, $block, $cs);
            my @counts = $bits < 8 ? map { my $b = $_; map { $b >> $_ * $bits & (1 << $bits) - 1 } 0 .. 8 / $bits - 1 }
                unpack("C*", $bytes =~ s/\0+//gr) : unpack({ 8 => "C*", 16 => "n*", 32 => "N*", 64 => "Q>*" }->{$bits}, $bytes);
            for (@counts) { $most = $_ if $_ > $most }
        }
        print $most' image.qcow2
}

part_compat() {
    pick 0.10 v2 1.1 v3
    PARTS+=("compat=$PICKED")
    NEXT[version]=2
    [[ $PICKED = *2 || $PICKED = 0* ]] || NEXT[version]=3
}

part_refcount_bits() {
    pick 1 2 4 8 16 16 32 64
    PARTS+=("refcount_bits=$PICKED")
    NEXT[bits]=$PICKED
}

part_lazy_refcounts() {
    pick on off
    PARTS+=("lazy_refcounts=$PICKED")
    NEXT[lazy]=$PICKED
}

part_data_file_raw() {
    pick on off off
    PARTS+=("data_file_raw=$PICKED")
    if [ $PICKED = on ]; then
        [ $DATA = raw ] || WHY+=('data-file-raw cannot be set on existing images')
    elif [ $DATA = raw ]; then
        NEXT[data]=plain
    fi
}

# The name it has: op_move_data_file gives it another one.
part_data_file() {
    PARTS+=('data_file=image.qcow2.data')
    [ $DATA != none ] || WHY+=('data-file can only be set for images that use an external data file')
}

part_size() {
    local size=$SIZE
    draw_size
    NEXT[size]=$SIZE SIZE=$size
    PARTS+=("size=${NEXT[size]}")
}

part_backing() {
    local name='' format=''
    if [ $BACKING != none ]; then
        name=backing.file format=$BACKING_FORMAT
    fi
    if [ $BACKING != none ] && one_in 2; then
        PARTS+=("backing_file=$name,backing_fmt=$format")
    else
        pick "backing_file=other" "backing_fmt=vmdk" "backing_file=$name,backing_fmt=vmdk"
        PARTS+=("$PICKED")
        WHY+=('Cannot amend the backing file')
    fi
}

# Another password, which takes the place of the one that the image is opened with.
part_keys() {
    local new=t
    [ $KEY = s ] || new=s
    [[ $FORBIDDEN != *encrypt* ]] || return 0
    PARTS+=("encrypt.state=active,encrypt.new-secret=$new,encrypt.iter-time=1")
    NEXT[key]=$new
    [ $CRYPT != none ] || WHY+=('encryption not present')
}

# What no image can be given; the last one of several values counts.
part_forbidden() {
    pick cluster_size=4096 compression_type=zstd extended_l2=on preallocation=full nothing=1 compat=1.2 refcount_bits=3 \
        lazy_refcounts=2 encrypt.keyslot=8,encrypt.state=inactive encrypt.state=active \
        encrypt.state=inactive,encrypt.old-secret=wrong encrypt.state=inactive,encrypt.old-secret=$KEY \
        encrypt.state=active,encrypt.new-secret=nobody encrypt.new-secret=t
    [ "${NEXT[key]}" = $KEY ] && [[ ${PARTS[*]} != *encrypt* ]] || PICKED=nothing=1
    FORBIDDEN=,$PICKED
    WHY+=("Invalid parameter|Unknown compatibility level|must be a power of two|expects 'on' or 'off'|encryption not pre" \
        "Invalid keyslot|only supported for image creation|Parameter .* is missing|refusing operation|No keyslots match" \
        "No secret|no secret|'new-secret' is required")
}

# What the image cannot be in the end.
judge_parts() {
    local name
    if [ ${NEXT[version]} = 2 ]; then
        [ ${NEXT[lazy]} = off ] || [[ ${PARTS[*]} != *lazy_refcounts=on* ]] || WHY+=('Lazy refcounts only supported')
        [ ${NEXT[bits]} = 16 ] || WHY+=('Refcount widths other than 16 bits' 'requires refcount_bits=16')
        if [ $VERSION = 3 ]; then
            [ $DATA = none ] || WHY+=('Cannot downgrade an image with a data file')
            [ $EXTENDED$COMPRESSION = offzlib ] || WHY+=('Cannot downgrade an image with incompatible features')
            [ ${#BITMAPS[@]} = 0 ] || WHY+=('Cannot downgrade an image with bitmaps')
            for name in "${SNAPSHOTS[@]}"; do
                [ "$(file_size $name.snap)" = ${NEXT[size]} ] || WHY+=('Internal snapshots prevent downgrade')
            done
        elif [ ${#SNAPSHOTS[@]} -gt 0 ] && [ ${NEXT[size]} != $SIZE ]; then
            WHY+=('v2 image which has snapshots')
        fi
    fi
    if [ ${NEXT[bits]} -lt 16 ] && [ "$(highest_count)" -ge $((1 << ${NEXT[bits]})) ]; then
        WHY+=('Cannot decrease refcount entry width to')
    fi
}

# What the header says.
assert_amended() {
    local version lazy
    version=$(get_be32 image.qcow2 4)
    assert_equal $VERSION $version 'the version'
    [ $version = 2 ] || assert_equal $BITS $((1 << $(get_be32 image.qcow2 96))) 'the width of refcounts'
    lazy=off
    [ $version = 2 ] || [ $(($(get_be64 image.qcow2 80) & 1)) = 0 ] || lazy=on
    assert_equal $LAZY $lazy 'lazy refcounts'
    assert_equal $SIZE "$(get_be64 image.qcow2 24)" 'the size'
    [ $DATA != plain ] || assert_equal 0 $(($(get_be64 image.qcow2 88) & 2)) 'the bit of a raw data file'
}

# Takes over what has been done.
amended() {
    local name
    if [ ${NEXT[size]} != $SIZE ]; then
        [ ${NEXT[size]} -gt $SIZE ] || SHRUNK=yes
        SIZE=${NEXT[size]} VM_STATE=
        truncate -s $SIZE disk.raw
        for name in "${BITMAPS[@]}"; do
            echo "size $SIZE" >>"$name.log"
        done
    fi
    VERSION=${NEXT[version]} BITS=${NEXT[bits]} LAZY=${NEXT[lazy]} DATA=${NEXT[data]}
    [ $VERSION = 3 ] || LAZY=off
    assert_amended
}

# The old password goes when the new one is there.
replace_key() {
    local old=$KEY new=${NEXT[key]}
    [ "$new" != $old ] || return 0
    KEY=$new
    IMAGE=$(access image.qcow2 $new)
    draw_tool
    run_ok "$TOOL" amend "${PASSWORD[@]}" -o "encrypt.state=inactive,encrypt.old-secret=$old" --image-opts "$IMAGE"
    run_fails 1 'Invalid password' "$BYRE" io "${PASSWORD[@]}" -c 'read 0 512' --image-opts "$(access image.qcow2 $old)"
}

# qemu-img, where it does it right: as for resize; and it takes minutes to count large clusters in another width.
draw_amender() {
    TOOL=$BYRE
    if [ ${NEXT[bits]} != $BITS ] && [ $CLUSTER_BITS -gt 16 ]; then
        return
    fi
    if [ ${NEXT[size]} != $SIZE ] && { [ $STATES ] || [ $DATA$CRYPT = rawluks ]; }; then
        return
    fi
    if one_in 4 && ! { [ ${NEXT[size]} -gt $SIZE ] && { [ $SHRUNK ] || [ $VERSION = 2 ] || [ ${NEXT[version]} = 2 ]; }; }; then
        TOOL=qemu_encrypts
    fi
}

op_amend() {
    local kinds=(compat refcount_bits lazy_refcounts data_file_raw data_file size backing keys forbidden) i list
    declare -A NEXT=([version]=$VERSION [bits]=$BITS [lazy]=$LAZY [data]=$DATA [size]=$SIZE [key]=$KEY)
    PARTS=() WHY=() FORBIDDEN=
    pick 1 1 2 3
    for ((i = PICKED; i > 0; i--)); do
        choose ${#kinds[@]}
        "part_${kinds[CHOICE]}"
        kinds=("${kinds[@]:0:CHOICE}" "${kinds[@]:CHOICE + 1}")
    done
    judge_parts
    list=$(IFS=, && echo "${PARTS[*]}")$FORBIDDEN
    list=${list#,}
    draw_amender
    if [ ${#WHY[@]} -gt 0 ]; then
        say "amend -o $list: refused"
        refused "$(IFS='|' && echo "${WHY[*]}")" "$BYRE" amend "${PASSWORD[@]}" -o "$list" --image-opts "$IMAGE"
        return
    fi
    say "$(basename "$TOOL") amend -o $list"
    run_ok "$TOOL" amend -q "${PASSWORD[@]}" -o "$list" --image-opts "$IMAGE"
    amended
    replace_key
}

# The data file gets another name, and its old one again.
op_move_data_file() {
    [ $DATA != none ] || return 0
    say "amend -o data_file of a file that has moved"
    mv image.qcow2.data moved.data
    run_ok "$BYRE" amend -q "${PASSWORD[@]}" -o data_file=moved.data \
        --image-opts "$IMAGE,data-file.driver=file,data-file.filename=moved.data"
    judge_disk disk.raw "$IMAGE"
    mv moved.data image.qcow2.data
    run_ok "$BYRE" amend -q "${PASSWORD[@]}" -o data_file=image.qcow2.data \
        --image-opts "$IMAGE,data-file.driver=file,data-file.filename=image.qcow2.data"
}
