#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Mistakes, images that somebody else uses, media that fail: one clear message, and the client learns which error it was.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/hold.bash"
. "$TEST_TOP/tests/nbdkit/nbdkit.sh"

qemu-img create -q -f qcow2 image.qcow2 4M
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 -u -b nofile -F qcow2 broken.qcow2 1M
qemu-img create -q -f qcow2 -u -b ssh://localhost:1/x -F raw far.qcow2 1M
qemu-img create -q -f qcow2 -u -b nbd://localhost:1/x -F raw remote.qcow2 1M
qemu-img create -q -f qcow2 -u -b "json:{'driver':'file','filename':'$PWD/image.qcow2'}" -F raw json.qcow2 1M
head -c 1000 image.qcow2 >short.qcow2
mkdir directory

refused 'the plugin needs an image: file=IMAGE or image-opts=LIST' "$PLUGIN"
refused 'file= has no value' "$PLUGIN" file=
refused 'there can only be one file= or image-opts=' "$PLUGIN" image.qcow2 file=top.qcow2
refused 'there can only be one file= or image-opts=' "$PLUGIN" image.qcow2 image-opts=driver=raw
refused 'format= and image-opts= are mutually exclusive' "$PLUGIN" image-opts=driver=raw format=raw
refused "unknown parameter 'size'" "$PLUGIN" image.qcow2 size=4M
refused 'format=vmdk: the value has to be one of: raw, qcow2, luks$' "$PLUGIN" image.qcow2 format=vmdk
refused 'cache=fast: the value has to be one of: none, off, writeback, unsafe, writethrough, directsync$' \
    "$PLUGIN" image.qcow2 cache=fast
refused 'discard=maybe: the value has to be one of' "$PLUGIN" image.qcow2 discard=maybe
refused 'detect-zeroes=all: the value has to be one of' "$PLUGIN" image.qcow2 detect-zeroes=all
refused 'allow-backing=all: the value has to be one of: protocol$' "$PLUGIN" image.qcow2 allow-backing=all
refused 'chain' "$PLUGIN" image.qcow2 chain=top
refused 'chain' "$PLUGIN" image.qcow2 chain=-1
refused 'boolean' "$PLUGIN" image.qcow2 backing=perhaps
refused 'snapshot= was given twice' "$PLUGIN" image.qcow2 snapshot=a snapshot=b

refused "Could not open '$PWD/nofile': No such file or directory" "$PLUGIN" nofile
refused "Could not open '$PWD/directory'" "$PLUGIN" directory
refused "Could not open '.*short.qcow2'" "$PLUGIN" short.qcow2 format=qcow2
refused "Could not open '.*broken.qcow2': Could not open backing file" "$PLUGIN" broken.qcow2
refused "Unknown protocol 'ssh'" "$PLUGIN" far.qcow2
refused "Could not open 'nbd://localhost:1/x': backing files can only be named by a path" "$PLUGIN" remote.qcow2
refused 'Unknown protocol' "$PLUGIN" nosuch:image
refused "snapshot=monday: Could not open '.*': Failed to load snapshot: Can't find snapshot" "$PLUGIN" image.qcow2 snapshot=monday
refused "chain=2: the chain of '$PWD/top.qcow2' has only 2 layers, from 0 on" "$PLUGIN" top.qcow2 chain=2
refused "chain=1: the chain of '$PWD/image.qcow2' has only 1 layer, from 0 on" "$PLUGIN" image.qcow2 chain=1
refused "'image.qcow2' is found from the working directory only, which nbdkit leaves" \
    "$PLUGIN" image-opts=driver=qcow2,file.filename=image.qcow2
refused "does not support the option 'bogus'" "$PLUGIN" image-opts=driver=qcow2,bogus=1,file.filename="$PWD/image.qcow2"
refused 'backing files can only be named by a path.*Use --allow-backing=protocol if you trust the image' \
    "$PLUGIN" json.qcow2

# -r, snapshots and lower layers cannot be written to
qemu-img snapshot -c monday image.qcow2
for parameters in '-r image.qcow2' 'image.qcow2 snapshot=monday' 'top.qcow2 chain=1' 'top.qcow2 backing=false'; do
    # shellcheck disable=SC2086 # words
    serve fixed "$PLUGIN" $parameters
    run_fails 1 'Permission denied' qemu-io -f raw -c 'write 0 64k' "$URI"
    stop fixed
done

# somebody writes: told at the start; what is below him can be shown
hold -f qcow2 top.qcow2
refused 'Failed to get .* lock' "$PLUGIN" top.qcow2
refused 'Failed to get .* lock' -r "$PLUGIN" top.qcow2
serve below "$PLUGIN" top.qcow2 chain=1
assert_equal 4194304 "$(info export-size)" 'size of a layer below'
stop below
release

# somebody reads: readers are welcome, and one that writes when he has gone
hold -r -f qcow2 image.qcow2
serve reads -r "$PLUGIN" image.qcow2
qemu_io -r -f raw -c 'read -q -P 0 0 64k' "$URI"
stop reads
serve writes "$PLUGIN" image.qcow2
run_fails 1 '' qemu-io -f raw -c 'write 0 64k' "$URI"
grep -q "Failed to get .* lock" writes.log || fail 'the log does not say why a client is refused'
release
: >writes.log
qemu_io -f raw -c 'write -q -P 3 0 64k' "$URI"
# from then on it is locked
run_fails 1 'Failed to get .* lock' "$BYRE" check image.qcow2
run_fails 1 'Failed to get .* lock' qemu-img resize image.qcow2 8M
stop writes
assert_checked image.qcow2
serve reads -r "$PLUGIN" image.qcow2
assert_equal 4194304 "$(info export-size)" size
run_ok "$BYRE" map image.qcow2
run_fails 1 'Failed to get .* lock' qemu-io -f qcow2 -c 'write 0 1' image.qcow2
stop reads

# errors of the medium, with their errno
failing=image-opts=driver=qcow2,file.driver=blkdebug,file.image.filename=$PWD/image.qcow2,file.inject-error.0
serve full "$PLUGIN" "$failing.event=write_aio,${failing##*,}.errno=28"
run_fails 1 '' qemu-io -f raw -c 'write 1M 64k' "$URI"
assert_match '^write failed: No space left on device' "$OUT"
stop_failed full 'No space left on device'
serve bad "$PLUGIN" "$failing.event=read_aio,${failing##*,}.errno=5"
run_fails 1 '' qemu-io -f raw -c 'read 0 64k' "$URI"
assert_match '^read failed: Input/output error' "$OUT"
stop_failed bad 'Input/output error'
# what fails when the disk is closed is told, too
serve closing "$PLUGIN" "$failing.event=flush_to_disk"
qemu-io -f raw -c 'write -q -P 6 1M 64k' "$URI" >says 2>&1 || true
stop_failed closing 'closing the image failed: '
run "$BYRE" check -f qcow2 image.qcow2
[[ $CODE = [03] ]] || fail "byre check exits with $CODE: $OUT" # there may be a leak
