#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre cp -a of a tree with everything in it: as the original, and as debugfs copies it.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/file_tree.sh"

has EXT2FS || skip 'built without libext2fs'
make_tree tree
clean_up chmod -R u+rwX "$TEST_DIR"
truncate -s 64M disk.raw
printf 'label: gpt\nstart=2048,size=20480\nstart=22528,size=81920\n' | sfdisk -q disk.raw
put_ext disk.raw 11534336 40M tree
qemu-img convert -O qcow2 -c disk.raw disk.qcow2

# The only file system that can be read is in partition 2.
mkdir all
run_ok "$BYRE" cp -a disk.qcow2 / all
run_ok "$BYRE" ls -l --directory disk.qcow2 /
assert_equal "${OUT##* 1024 }" "$(TZ=UTC stat -c %y all | sed 's/ /T/; s/\..*/Z/') /" 'the directory itself'
rmdir all/lost+found
same_tree tree all
for file in sparse all-hole; do
    assert_equal "$(qemu-img map --output=json -f raw tree/$file)" "$(qemu-img map --output=json -f raw all/$file)" holes
done

# Again, over what is there.
run_ok "$BYRE" cp --archive --partition=2 disk.qcow2 / all
rmdir all/lost+found
same_tree tree all
[ -z "$(find all -name '.byre-*')" ] || fail 'something is left behind'

# As debugfs does.
mkdir rdump
dd if=disk.raw of=part.raw bs=1M skip=11 count=40 status=none
debugfs -R 'rdump / rdump' part.raw 2>debugfs.log
same_contents rdump all

# The same from a snapshot, after the files are gone.
qemu-img snapshot -c before disk.qcow2
qemu-io -c 'write -q -z 11M 40M' disk.qcow2
run_fails 1 'there is no file system that byre reads: partition 1 holds ' "$BYRE" cp -a disk.qcow2 / all
mkdir snapshot
run_ok "$BYRE" cp -a --snapshot=before disk.qcow2 / snapshot
rmdir snapshot/lost+found
same_tree tree snapshot

# -r: permissions by the umask, and nothing else but the contents, holes and links.
mkdir plain
(
    umask 027
    run_fails 1 'fifo.*a named pipe, which is copied with -a only' "$BYRE" cp -r disk.raw dir hello fifo sparse link plain
)
assert_equal '750 750' "$(stat -c %a plain/dir plain/hello | tr '\n' ' ' | sed 's/ $//')"
assert_equal 640 "$(stat -c %a plain/dir/noise)"
assert_equal "$(id -u):$(id -g) 1" "$(stat -c '%u:%g %h' plain/dir/noise)"
assert_equal hello "$(readlink plain/link)"
[ "$(stat -c %Y plain/hello)" -gt 1700000000 ] || fail 'the copy is as old as the original'
assert_equal '' "$(getfattr -d plain/hello)"
assert_missing plain/fifo
assert_equal "$(qemu-img map --output=json -f raw tree/sparse)" "$(qemu-img map --output=json -f raw plain/sparse)" holes
same_contents tree/dir plain/dir

# --preserve without -r, and files with several names.
mkdir kept
run_ok "$BYRE" cp --preserve disk.raw hello noise-three dir/noise kept
assert_equal "$(stat -c '%a %Y %s' tree/hello)" "$(stat -c '%a %Y %s' kept/hello)"
assert_equal "$(getfattr -d tree/hello | tail -n +2)" "$(getfattr -d kept/hello | tail -n +2)"
assert_equal 2 "$(stat -c %h kept/noise)"

if [ "$(id -u)" != 0 ]; then
    exit 0
fi
# Somebody else gets what he may have: no owners, and no set-user-ID.
mkdir -m 777 theirs
chmod 755 "$TEST_DIR"
chmod 644 disk.raw
run setpriv --reuid=65534 --regid=65534 --clear-groups "$BYRE" cp -a disk.raw dir hello theirs
assert_equal 0 "$CODE" "$ERR"
assert_equal '65534 755' "$(stat -c '%u %a' theirs/hello)"
assert_equal "$(stat -c '%a %Y' tree/dir/noise)" "$(stat -c '%a %Y' theirs/dir/noise)"
assert_equal "$(getfattr -d tree/hello | tail -n +2)" "$(getfattr -d theirs/hello | tail -n +2)"
run setpriv --reuid=65534 --regid=65534 --clear-groups "$BYRE" cp -a disk.raw block theirs
assert_equal 1 "$CODE"
assert_match "could not copy 'block' in 'disk.raw': 'theirs/block': Operation not permitted" "$ERR"
