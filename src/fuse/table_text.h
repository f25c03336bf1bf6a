/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The partitions of a disk as text: partitions/table.json.  One JSON object, whose members have the names that
 * `sfdisk --json` and `lsblk --json` give them where these have them:
 *
 *     "partitiontable": {
 *         "label": "gpt" or "dos", or null: there is no table
 *         "id": of the disk: a GUID, or "0x1234abcd"
 *         "unit": "bytes", in which sfdisk counts sectors
 *         "sectorsize": 512 or 4096, what the table itself counts in
 *         "error": why the table, or the rest of it, cannot be read
 *         "partitions": [ {
 *             "number": as Linux counts, logical ones of an MBR from 5 on
 *             "node": the name of the file that shows it, "1.raw"
 *             "start", "size": bytes of the disk
 *             "inside": false if it reaches past the end of the disk
 *             "type": a GUID, or "0x83"
 *             "parttypename": "Linux filesystem", by the tables of libfdisk, where byre is built with that
 *             "uuid": a GUID, or "1234abcd-01"
 *             "name": of a GPT's partition
 *             "bootable": true if it is
 *             "attrs": "RequiredPartition NoBlockIOProtocol LegacyBIOSBootable GUID:48", those bits that are set
 *             "contents": { "fstype": "ext4", "label": ..., "uuid": ... }, as blkid(8) finds them
 *         } ]
 *         "contents": of the whole disk, where there is no table
 *     }
 *
 * Members that say nothing are left out.  Where it could not be found what a partition holds, "contents" has an
 * "error".
 */
#ifndef BYRE_FUSE_TABLE_TEXT_H
#define BYRE_FUSE_TABLE_TEXT_H

#include <stddef.h>

#include "byre/disk.h"

/*
 * The text of a disk, to be freed by the caller; it is of `*ret_length` bytes.  What cannot be read is said in the
 * text, so that this cannot fail but where memory is short, which ends the program.  0.
 */
int byre_table_text(struct byre_disk *disk, char **ret_text, size_t *ret_length, struct byre_error *err);

#endif
