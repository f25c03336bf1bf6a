# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2086,SC2034,SC2154,SC2206,SC2004,SC2030,SC2031,SC2017 # words without blanks; drawn numbers
# How features go together: images with drawn features, and operations on them.
#
# What an image should hold is kept beside it: disk.raw is its disk; SNAPSHOTS names its snapshots, of which NAME.snap
# is the disk; BITMAPS names its bitmaps, and NAME.log says what has happened to one since it was clear ("dirty OFFSET
# LENGTH" or "size BYTES"), GRANULARITY[NAME] how coarse it is, ENABLED[NAME] whether it follows changes.
#
# An operation is a function op_NAME of operations.bash: it changes image.qcow2, by byre or by QEMU, and what should be
# there.  What QEMU refuses is to be refused, and to change nothing.  A new verb gets its functions there; the walks
# call every op_* there is.
#
# All that is drawn comes from $RANDOM, whose seed is printed; TEST_SEED repeats it.

. "$TEST_TOP/tests/stored_bitmap.bash"

PASSWORD=(--object 'secret,id=s,data=s3cret' --object 'secret,id=t,data=another' --object 'secret,id=wrong,data=x')
declare -A GRANULARITY ENABLED

# choose N: sets CHOICE to one of 0 to N-1.
choose() {
    CHOICE=$(((RANDOM * 32768 + RANDOM) % $1))
}

# one_in N
one_in() {
    [ $((RANDOM % $1)) = 0 ]
}

# pick WORD...: sets PICKED.
pick() {
    local words=("$@")
    PICKED=${words[RANDOM % $#]}
}

# What is done is the story that a failure is told with.
say() {
    echo "    $*"
}

# Draws the features of an image: sets VERSION, CLUSTER_BITS, EXTENDED, BITS, COMPRESSION, LAZY, DATA, CRYPT, BACKING.
# Any of them go together but for those that the format forbids.
draw_features() {
    VERSION=3 EXTENDED=off LAZY=off COMPRESSION=zlib BITS=16 DATA=none CRYPT=none BACKING=none
    CLUSTER_BITS=$((9 + RANDOM % 9))
    if one_in 10; then
        CLUSTER_BITS=$((18 + RANDOM % 4))
    fi
    if one_in 8; then
        VERSION=2
    else
        pick 1 2 4 8 16 16 16 32 64
        BITS=$PICKED
        if one_in 3; then
            EXTENDED=on
            [ $CLUSTER_BITS -ge 14 ] || CLUSTER_BITS=$((14 + RANDOM % 3))
        fi
        if has ZSTD; then
            pick zlib zstd
            COMPRESSION=$PICKED
        fi
        pick on off off
        LAZY=$PICKED
        if one_in 3; then
            pick plain raw
            DATA=$PICKED
        fi
    fi
    if one_in 3; then
        CRYPT=luks
    fi
    if [ $DATA != raw ] && one_in 2; then
        pick raw qcow2 extended
        BACKING=$PICKED
    fi
}

# draw_size: sets SIZE, some tens of clusters that end anywhere.
draw_size() {
    local most=$((40 << CLUSTER_BITS))
    [ $most -ge 200000 ] || most=200000
    [ $most -le 6000000 ] || most=6000000
    choose $((most / 512))
    SIZE=$(((CHOICE + 1) * 512))
}

# The creation options of what was drawn.
features_options() {
    local options="cluster_size=$((1 << CLUSTER_BITS)),compat=v$VERSION,refcount_bits=$BITS"
    [ $VERSION = 2 ] || options+=",extended_l2=$EXTENDED,lazy_refcounts=$LAZY,compression_type=$COMPRESSION"
    [ $DATA = none ] || options+=,data_file=$1.data
    [ $DATA != raw ] || options+=,data_file_raw=on
    [ $CRYPT = none ] || options+=,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1
    echo "$options"
}

# access FILE [SECRET]: the options that open it, for --image-opts.
access() {
    local options=driver=qcow2,file.filename=$1
    [ $CRYPT = none ] || options+=,encrypt.key-secret=${2:-s}
    echo "$options"
}

# A backing file of the kind $BACKING, shorter or longer than $SIZE: backing.file.
make_backing() {
    local length
    choose $((SIZE / 512 * 3 / 2))
    length=$(((CHOICE + 1) * 512))
    rm -f backing.file backing.raw
    case $BACKING in
    raw) truncate -s $length backing.file ;;
    qcow2)
        pick 512 4k 64k
        qemu-img create -q -f qcow2 -o cluster_size=$PICKED backing.file $length
        ;;
    extended) qemu-img create -q -f qcow2 -o cluster_size=16k,extended_l2=on backing.file $length ;;
    esac
    BACKING_FORMAT=raw
    [ $BACKING = raw ] || BACKING_FORMAT=qcow2
    qemu_io -f $BACKING_FORMAT -c "write -q -P 201 0 $((length * 2 / 3 / 512 * 512))" backing.file
    qemu-img convert -f $BACKING_FORMAT -O raw backing.file backing.raw
}

# make_image MAKER: an image of the features and the size that were drawn, and what should be there.  MAKER is byre or
# qemu-img; both make of it what they can, or refuse.
make_image() {
    local maker=$1 backing=() options program=qemu_encrypts
    rm -f image.qcow2 image.qcow2.data disk.raw ./*.snap ./*.log ./*.state
    SNAPSHOTS=() BITMAPS=() GRANULARITY=() ENABLED=() KEY=s VM_STATE='' STATES=''
    if [ $BACKING != none ]; then
        make_backing
        backing=(-b backing.file -F $BACKING_FORMAT)
        cp backing.raw disk.raw
    fi
    truncate -s $SIZE disk.raw
    options=$(features_options image.qcow2)
    echo "made by $maker: $options size=$SIZE backing=$BACKING"
    [ "$maker" != byre ] || program=$BYRE
    run_ok "$program" create -q "${PASSWORD[@]}" -f qcow2 -o "$options" "${backing[@]}" image.qcow2 $SIZE
    IMAGE=$(access image.qcow2)
    noise $((RANDOM + 1)) 100000 >noise.bin
}

# expected BITMAP: the same of its log.
expected() {
    perl -e 'use strict; my ($log, $g, $enabled, $size) = @ARGV; my $bits = "0" x int(($size + $g - 1) / $g);
        printf "flags %d granularity %d\n", $enabled ? 2 : 0, $g;
        open my $f, "<", $log or die;
        $bits = ""; my $n;
        while (<$f>) {
            if (/^dirty (\d+) (\d+)$/) {
                next if !$2;
                my ($a, $b) = (int($1 / $g), int(($1 + $2 - 1) / $g));
                $bits .= "0" x ($b + 1 - length $bits) if length $bits <= $b;
                substr($bits, $a, $b + 1 - $a) = "1" x ($b + 1 - $a);
            } elsif (/^size (\d+)$/) {
                $n = int(($1 + $g - 1) / $g);
                $bits = substr($bits, 0, $n);
            } else { die "what? $_" }
        }
        printf "%d+%d\n", $-[0], $+[0] - $-[0] while $bits =~ /1+/g' \
        "$1.log" "${GRANULARITY[$1]}" "${ENABLED[$1]}" $SIZE
}

# changed OFFSET LENGTH: what follows changes notes it.
changed() {
    local name
    for name in "${BITMAPS[@]}"; do
        [ -z "${ENABLED[$name]}" ] || echo "dirty $1 $2" >>"$name.log"
    done
}

# judge_disk FILE ACCESS-OPTIONS CONVERT-OPTION...: by both programs.
judge_disk() {
    local file=$1 image=$2
    shift 2
    rm -f found.raw wanted.raw
    run_ok "$BYRE" convert "${PASSWORD[@]}" "$@" --image-opts -O raw "$image" found.raw
    cmp found.raw "$file" || fail "byre finds something else than $file"
}

judge_disk_of_qemu() {
    local file=$1 image=$2
    shift 2
    rm -f found.raw
    qemu-img convert "${PASSWORD[@]}" "$@" --image-opts -O raw "$image" found.raw
    # qemu gives a snapshot that it copies the size that the disk has now
    if [ $# -gt 0 ] && [ "$(file_size found.raw)" != "$(file_size "$file")" ]; then
        return 0
    fi
    cmp found.raw "$file" || fail "qemu-img finds something else than $file"
}

# judge: is everything of the image what it should be?
judge() {
    local name list
    run "$BYRE" check -q "${PASSWORD[@]}" --image-opts "$IMAGE"
    [ "$CODE" = 0 ] || fail "byre check exits with $CODE: $OUT$ERR"
    run qemu-img check "${PASSWORD[@]}" --image-opts "$IMAGE"
    [ "$CODE" = 0 ] || fail "qemu-img check exits with $CODE: $OUT$ERR"
    judge_disk disk.raw "$IMAGE"
    judge_disk_of_qemu disk.raw "$IMAGE"
    # qemu-img makes data files of whole clusters
    [ $DATA != raw ] || [ $CRYPT != none ] || cmp -n $SIZE disk.raw image.qcow2.data
    run_ok "$BYRE" snapshot -l "${PASSWORD[@]}" --image-opts "$IMAGE"
    list=$(sed -n 's/^[0-9][0-9]* *\([a-z0-9]*\) .*/\1/p' <<<"$OUT" | sort | tr '\n' ' ')
    assert_equal "$(printf '%s\n' "${SNAPSHOTS[@]}" | sed '/^$/d' | sort | tr '\n' ' ')" "$list" 'the snapshots'
    for name in "${SNAPSHOTS[@]}"; do
        judge_disk "$name.snap" "$IMAGE" -l "snapshot.name=$name"
        judge_disk_of_qemu "$name.snap" "$IMAGE" -l "snapshot.name=$name"
    done
    judge_vm_state "$VM_STATE" "$IMAGE"
    run_ok "$BYRE" info "${PASSWORD[@]}" --image-opts "$IMAGE"
    assert_equal ${#BITMAPS[@]} "$(grep -c 'granularity: ' <<<"$OUT" || true)" 'the number of bitmaps'
    for name in "${BITMAPS[@]}"; do
        judge_bitmap "$name" image.qcow2
    done
}

# judge_bitmap NAME FILE
judge_bitmap() {
    expected "$1" >wanted.bits
    stored "$1" "$2" >found.bits
    diff wanted.bits found.bits || fail "the bitmap $1 is another one"
}

# refused REGEX COMMAND...: it fails, in one line, and changes nothing.
refused() {
    local regex=$1
    shift
    cp image.qcow2 before.qcow2
    [ $DATA = none ] || cp image.qcow2.data before.data
    run_fails 1 "$regex" "$@"
    assert_same_file before.qcow2 image.qcow2
    [ $DATA = none ] || assert_same_file before.data image.qcow2.data
}
