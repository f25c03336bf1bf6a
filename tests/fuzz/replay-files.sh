#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The fuzz target for files inside disks on its seeds, on file systems that mkfs.fat and mke2fs made, and on drawn
# damage to them.  The seed is printed; TEST_SEED repeats a run.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/fuzz/images.bash"

seed=${TEST_SEED:-$RANDOM}
echo "TEST_SEED=$seed"
RANDOM=$seed
export PATH=$PATH:/sbin:/usr/sbin
mkdir seeds images
run_ok "$TEST_BUILD/fuzz/seeds_files" seeds
replay files seeds

mkdir -p tree/directory/deeper
noise 1 30000 >"tree/directory/deeper/a file with a long name"
noise 2 700 >tree/directory/short
truncate -s 100000 tree/directory/sparse
: >tree/empty
mkfs.fat -C -F 12 images/1 360 >/dev/null
mkfs.fat -C -F 16 -s 1 images/2 2100 >/dev/null
mkfs.fat -C -F 32 -s 1 -f 1 -R 4 -a images/3 1000 >/dev/null
truncate -s 200K images/1 images/2 images/3
MTOOLS_SKIP_CHECK=1 mcopy -s -i images/1 tree/directory ::
MTOOLS_SKIP_CHECK=1 mcopy -s -i images/2 tree/directory tree/empty ::
IMAGES=3
ln -s directory/short tree/link
ln -s "$(printf '%0100d' 7)" tree/directory/long
# Without checksums damage gets further than these; e2fsck gives large directories an index.
for options in 'ext2 -b 1024' 'ext2 -b 1024 -O ^dir_index,^filetype' 'ext4 -b 1024 -O ^has_journal,inline_data' \
    'ext4 -b 1024 -O ^has_journal,^metadata_csum,inline_data,ea_inode' \
    'ext4 -b 4096 -O ^has_journal,^extents,^64bit'; do
    IMAGES=$((IMAGES + 1))
    # shellcheck disable=SC2086 # they are several
    mke2fs -q -F -d tree -t $options images/$IMAGES 400K
done
mkdir tree/many
for ((i = 0; i < 120; i++)); do : >"tree/many/name-of-a-file-$i"; done
for ((i = 0; i < 8; i++)); do noise $i 600 | put_file tree/pieces $((i * 9000)); done
for options in 'ext2 -b 1024' 'ext4 -b 1024 -O ^has_journal,^metadata_csum' 'ext4 -b 1024 -O ^has_journal'; do
    IMAGES=$((IMAGES + 1))
    # shellcheck disable=SC2086
    mke2fs -q -F -d tree -t $options -N 200 images/$IMAGES 500K
    e2fsck -fyD images/$IMAGES >e2fsck.log 2>&1 || [ $? = 1 ]
    debugfs -R 'htree_dump /many' images/$IMAGES 2>&1 | grep -q '^Root node dump' || fail 'no index was made'
done
# in partitions, alone and beside another one
for label in dos gpt; do
    IMAGES=$((IMAGES + 1))
    truncate -s 900K images/$IMAGES
    printf 'label: %s\nstart=64,size=1000\nstart=1064,size=600\n' $label | sfdisk -q images/$IMAGES
    put_file images/$IMAGES $((64 * 512)) <images/$((IMAGES - 2))
    [ $label = dos ] || dd if=images/1 of=images/$IMAGES bs=512 seek=1064 count=600 conv=notrunc status=none
done
replay files images

replay_damaged files
