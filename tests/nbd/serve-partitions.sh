#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Partitions as exports: where sfdisk says that they are, and nothing but them.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo nbdcopy sfdisk

uri() {
    echo "nbd+unix:///$1?socket=$TEST_DIR/socket"
}

# sectors FILE FIRST [COUNT]
sectors() {
    dd if="$1" bs=512 skip="$2" ${3:+count="$3"} status=none
}

is_refused() { # MESSAGE OPTION...
    local message=$1
    shift
    run_fails 1 '' "$SERVER" -k "$TEST_DIR/socket" "$@"
    assert_equal "byre: $message" "${ERR%%$'\n'*}"
}

# bytes that come again after a number that no partition is away from another
noise 7 65537 >block
for ((i = 0; i < 192; i++)); do cat block; done >noise
for image in gpt mbr; do
    { head -c 4096 /dev/zero; cat noise; } >$image.raw
    truncate -s 32M $image.raw
done
sfdisk -q -w never gpt.raw <<<$'label: gpt\nstart=2048,size=4096\nstart=8192,size=2049\n5: start=20480,size=8'
sfdisk -q -w never mbr.raw <<<$'label: dos\nstart=2048,size=2048,type=83\nstart=8192,size=32768,type=5
5: start=10240,size=2048\n6: start=20480,size=1024'
run_ok qemu-img convert -f raw -O qcow2 gpt.raw gpt.qcow2

# sfdisk's view: "NUMBER START SIZE", in sectors; without the extended partition
table() {
    sfdisk -d "$1" | sed -n 's/^[^ ]*raw\([0-9]*\) : start= *\([0-9]*\), size= *\([0-9]*\), type=\([^,]*\).*/\1 \2 \3 \4/p' |
        awk '$4 != 5 { print $1, $2, $3 }'
}
assert_equal '1 2 5' "$(table gpt.raw | cut -d' ' -f1 | paste -sd ' ')"
assert_equal '1 5 6' "$(table mbr.raw | cut -d' ' -f1 | paste -sd ' ')"

# --- each by itself, and all at once, listed
for image in gpt.raw:raw:gpt.raw gpt.qcow2:qcow2:gpt.raw mbr.raw:raw:mbr.raw; do
    IFS=: read -r file format raw <<<"$image"
    while read -r number start size; do
        start_server -r -t --partition="$number" -f "$format" "$file"
        run_ok nbdcopy "$URI" part.raw
        stop_server
        cmp part.raw <(sectors "$raw" "$start" "$size")
        assert_equal $((size * 512)) "$(file_size part.raw)"
        rm part.raw
    done < <(table "$raw")
    start_server -r -t -e 0 --partitions -x disk -f "$format" "$file"
    run_ok nbdinfo --list "$URI"
    assert_equal "$({ echo disk; table "$raw" | sed 's/ .*//; s/^/disk#/'; } | paste -sd ' ')" \
        "$(sed -n 's/^export="\(.*\)":$/\1/p' <<<"$OUT" | paste -sd ' ')"
    stop_server TERM
done

# --- two partitions of an image, written to at once: nothing beside them changes
cp gpt.qcow2 before.qcow2
start_server -t -e 0 --export name=p1,file=gpt.qcow2,format=qcow2,partition=1 \
    --export name=p2,file=gpt.qcow2,format=qcow2,partition=2
qemu_io -f raw -c 'write -q -P 1 0 2M' -c 'read -q -P 1 0 2M' "$(uri p1)"
qemu_io -f raw -c "write -q -P 2 0 $((2049 * 512))" -c 'discard -q 4k 64k' -c 'write -q -z 128k 64k' "$(uri p2)"
run_ok nbdinfo --map "$(uri p2)"
assert_match '^ +0 +[0-9]+ ' "$OUT"
assert_equal $((2049 * 512)) "$(awk '{ sum += $2 } END { print sum }' <<<"$OUT")" "the map has another length"
run_fails 1 '' qemu-io -f raw -c "write -q -P 9 $((2049 * 512)) 512" "$(uri p2)"
stop_server TERM
run_ok qemu-img check -q gpt.qcow2
run_ok qemu-img convert -O raw gpt.qcow2 after.raw
for range in '0 2048' '6144 2048' 10241; do
    # shellcheck disable=SC2086 # two words
    cmp <(sectors after.raw $range) <(sectors gpt.raw $range)
done
! cmp -s <(sectors after.raw 2048 1) <(sectors gpt.raw 2048 1) || fail "nothing was written"

# --- of an image with snapshots: those of the snapshots, too
run_ok qemu-img snapshot -c old gpt.qcow2
start_server -t -e 0 -x d --snapshots --partitions -f qcow2 gpt.qcow2
qemu_io -f raw -c 'write -q -P 5 0 1M' "$(uri d%231)"
qemu_io -r -f raw -c 'read -q -P 1 0 1M' "$(uri d@old%231)"
stop_server TERM

# --- mistakes
is_refused "There is no partition 3" --partition=3 gpt.qcow2
is_refused "There is no partition 2" --partition=2 -f raw mbr.raw
is_refused "export 'x': There is no partition table" --export name=x,file=noise,format=raw,partition=1
is_refused "Invalid partition '0'" --partition=0 gpt.qcow2
is_refused "Invalid partition '1x'" --export name=x,file=gpt.qcow2,partition=1x
is_refused "--partitions cannot be used together with --offset or --partition" --partitions --partition=1 gpt.qcow2
is_refused "export 'x': partition and partitions cannot be used together" \
    --export name=x,file=gpt.qcow2,partition=1,partitions=on
truncate -s 10300k mbr.raw
is_refused "Partition 6 reaches past the end of the disk" --partition=6 -f raw mbr.raw

# --- a table that says more than the disk has: what is past the end is no export, and no request gets there
printf 'label: dos\nstart=2048,size=2048,type=83\nstart=8192,size=32768,type=83\n' >table
truncate -s 32M short.raw
sfdisk -q short.raw <table
truncate -s 8M short.raw
start_server -t -e 0 --partitions -x disk -f raw short.raw
run_ok nbdinfo --list "$URI"
assert_equal 'disk disk#1' "$(sed -n 's/^export="\(.*\)":$/\1/p' <<<"$OUT" | paste -sd ' ')"
stop_server TERM
