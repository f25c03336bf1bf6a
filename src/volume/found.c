/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies on a range of a disk, by libblkid.  It wants a file, so it gets one in memory that is as long as the range
 * and has what signatures are in: the first bytes, and the last ones; no device is opened, and nothing of the disk is
 * on the host's file system.
 */
#include "config.h"

#include "volume/found.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef HAVE_BLKID
#include <blkid/blkid.h>
#endif

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/zero.h"
#include "byre/disk.h"

/* --- texts ------------------------------------------------------------------------------------------------- */

/* Bytes of the character that begins there: 0 if it is none of UTF-8, or a control character. */
static size_t character_length(const uint8_t *at, size_t left)
{
    uint32_t c = 0;
    size_t length = byre_utf8_length(at, left, &c);

    return c < ' ' || (c >= 0x7f && c < 0xa0) ? 0 : length;
}

void byre_found_text(char *to, size_t room, const void *bytes, size_t length)
{
    const uint8_t *at = bytes, *end = at + strnlen(bytes, length);

    while (at < end) {
        size_t now = character_length(at, (size_t)(end - at));

        if (MAX(now, 1u) >= room)
            break;
        if (now)
            memcpy(to, at, now);
        else
            *to = '?';
        at += MAX(now, 1u);
        to += MAX(now, 1u);
        room -= MAX(now, 1u);
    }
    *to = '\0';
}

void byre_found_uuid(char to[37], const uint8_t bytes[16])
{
    *to = '\0';
    if (byre_is_zero(bytes, 16))
        return;
    for (unsigned i = 0; i < 16; i++)
        to += sprintf(to, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
}

/* --- signatures -------------------------------------------------------------------------------------------- */

#ifdef HAVE_BLKID

#define PIECE_BYTES (64u << 10)
#define HEAD_BYTES  ((1u << 20) + PIECE_BYTES) /* UDF's is the one farthest from the start */

/* Copies a piece of the range into the file, which is zero where nothing is written. */
static int copy_piece(int fd, struct byre_disk *disk, uint64_t goff, size_t length, uint64_t offset, uint8_t *buf,
                      struct byre_error *err)
{
    int rc = byre_pread(disk, buf, length, goff + offset, err);

    if (rc < 0 || byre_is_zero(buf, length))
        return rc;
    if (pwrite(fd, buf, length, (off_t)offset) != (ssize_t)length)
        return byre_error_set_errno(err, -EIO, "file in memory");
    return 0;
}

static int copy_ends(int fd, struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *buf = malloc(PIECE_BYTES);
    uint64_t head = MIN(length, HEAD_BYTES), tail;
    int rc = 0;

    if (!buf)
        return byre_error_set_errno(err, -ENOMEM, "file in memory");
    if (ftruncate(fd, (off_t)length) < 0)
        return byre_error_set_errno(err, -errno, "file in memory of %llu bytes", (unsigned long long)length);
    for (uint64_t at = 0; rc == 0 && at < head; at += PIECE_BYTES)
        rc = copy_piece(fd, disk, goff, MIN(head - at, PIECE_BYTES), at, buf, err);
    tail = MAX(head, length > PIECE_BYTES ? byre_round_down(length - PIECE_BYTES, 512) : 0);
    /* at most a sector more than a piece is left; an end that cannot be read says nothing, as one of zeros */
    for (uint64_t at = tail; rc == 0 && at < length; at += PIECE_BYTES)
        (void)copy_piece(fd, disk, goff, MIN(length - at, PIECE_BYTES), at, buf, NULL);
    return rc;
}

static void take_value(blkid_probe probe, const char *name, char *to, size_t room)
{
    const char *value;
    size_t length;

    if (blkid_probe_lookup_value(probe, name, &value, &length) == 0)
        byre_found_text(to, room, value, length);
}

static void ask(int fd, struct byre_files_found *found)
{
    blkid_probe probe = blkid_new_probe();
    int rc;

    if (!probe)
        return;
    if (blkid_probe_set_device(probe, fd, 0, 0) == 0 && blkid_probe_enable_superblocks(probe, 1) == 0 &&
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID) == 0) {
        rc = blkid_do_safeprobe(probe);
        if (rc == -2) { /* more than one: the first, then */
            blkid_reset_probe(probe);
            rc = blkid_do_probe(probe);
        }
        if (rc == 0) {
            take_value(probe, "TYPE", found->type, sizeof found->type);
            take_value(probe, "LABEL", found->label, sizeof found->label);
            take_value(probe, "UUID", found->uuid, sizeof found->uuid);
        }
    }
    blkid_free_probe(probe);
}

int byre_found_by_signature(struct byre_disk *disk, uint64_t goff, uint64_t length,
                            struct byre_files_found *ret_found, struct byre_error *err)
{
    struct byre_files_found found = { .type = "" };
    uint64_t size = byre_get_size(disk);
    CLEANUP(close_fd) int fd = -1;
    int rc;

    length = goff < size ? MIN(length, size - goff) : 0;
    if (length) {
        fd = memfd_create("byre-probe", MFD_CLOEXEC);
        if (fd < 0)
            return byre_error_set_errno(err, -errno, "file in memory");
        rc = copy_ends(fd, disk, goff, length, err);
        if (rc < 0)
            return rc;
        ask(fd, &found);
    }
    *ret_found = found;
    return 0;
}

#else

int byre_found_by_signature(struct byre_disk *disk, uint64_t goff, uint64_t length,
                            struct byre_files_found *ret_found, struct byre_error *err)
{
    (void)disk, (void)goff, (void)length, (void)err;
    *ret_found = (struct byre_files_found){ .type = "" };
    return 0;
}

#endif
