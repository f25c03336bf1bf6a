/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes seeds for fuzz_files into the directory that is given: small FAT file systems of each width, whole and in a
 * partition, and each with one of its fields after the other made absurd.
 */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"

#define SECTOR  512u
#define SECTORS 24u

/* Where things are, in sectors; clusters of one sector begin at DATA with number 2. */
enum {
    BOOT,
    INFO,
    TABLE,
    ROOT = TABLE + 1,
    DATA = ROOT + 1,
};

static const char *directory;
static unsigned written;

static void fail(const char *what)
{
    fprintf(stderr, "seeds_files: %s\n", what);
    exit(1);
}

static void write_seed(const uint8_t *bytes, size_t length)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/files-%04u", directory, written++);
    file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        fail(path);
}

static void put_le16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put_boot(uint8_t *image, unsigned bits)
{
    uint8_t *extended = image + (bits == 32 ? 64 : 36);

    memcpy(image, "\xeb\x3c\x90" "byrefuzz", 11);
    put_le16(image + 11, SECTOR);
    image[13] = 1;
    put_le16(image + 14, TABLE);
    image[16] = 1;
    put_le16(image + 17, bits == 32 ? 0 : 16);
    put_le16(image + 19, bits == 16 ? 5000 : SECTORS); /* of FAT16 most clusters are past the end */
    image[21] = 0xf8;
    put_le16(image + 22, bits == 32 ? 0 : bits == 16 ? 16 : 1);
    if (bits == 32) {
        image[36] = 1;
        image[44] = 2;
        image[48] = INFO;
    }
    memcpy(extended + 2, "\x29\x01\x02\x03\x04NO NAME    FAT     ", 24);
    put_le16(image + 510, 0xaa55);
}

static void put_info(uint8_t *info)
{
    byre_put_le32(info, 0x41615252);
    byre_put_le32(info + 484, 0x61417272);
    byre_put_le32(info + 488, 3);
}

static void put_link(uint8_t *table, unsigned bits, unsigned cluster, uint32_t next)
{
    if (bits == 32) {
        byre_put_le32(table + cluster * 4, next);
    } else if (bits == 16) {
        put_le16(table + cluster * 2, next & 0xffff);
    } else if (cluster % 2) {
        table[cluster + cluster / 2] |= (uint8_t)(next << 4);
        table[cluster + cluster / 2 + 1] = (uint8_t)(next >> 4);
    } else {
        table[cluster + cluster / 2] = (uint8_t)next;
        table[cluster + cluster / 2 + 1] |= (uint8_t)(next >> 8 & 0xf);
    }
}

static uint8_t *put_short(uint8_t *at, const char *name, unsigned attributes, unsigned cluster, uint32_t size)
{
    memcpy(at, name, 11);
    at[11] = (uint8_t)attributes;
    memcpy(at + 13, "\x99\x7d\xbf\x5d\x58\x5d\x58", 7);
    memcpy(at + 22, "\x7d\xbf\x5d\x58", 4);
    put_le16(at + 26, cluster);
    byre_put_le32(at + 28, size);
    return at + 32;
}

static uint8_t *put_part(uint8_t *at, unsigned order, const char *short_name, const char *text)
{
    static const uint8_t places[] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    uint8_t sum = 0;

    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum << 7 | sum >> 1) + (uint8_t)short_name[i]);
    memset(at, 0xff, 32);
    at[0] = (uint8_t)order;
    at[11] = 0x0f;
    at[12] = 0;
    at[13] = sum;
    put_le16(at + 26, 0);
    for (unsigned i = 0; i < 13 && (!i || text[i - 1]); i++)
        put_le16(at + places[i], (uint8_t)text[i]);
    return at + 32;
}

/* The root directory has a label, a file in three pieces with a long name, a directory with a file, an empty file. */
static void put_tree(uint8_t *root, uint8_t *sub)
{
    root = put_short(root, "VOLUME     ", 0x08, 0, 0);
    root = put_part(root, 0x42, "LONGNA~1TXT", "ame.txt");
    root = put_part(root, 0x01, "LONGNA~1TXT", "A rather long");
    root = put_short(root, "LONGNA~1TXT", 0x21, 5, 1500);
    root = put_short(root, "SUB        ", 0x10, 3, 0);
    root = put_short(root, "\xe5" "GONE   TXT", 0x20, 9, 10);
    put_short(root, "EMPTY   TXT", 0x20, 0, 0);
    sub = put_short(sub, ".          ", 0x10, 3, 0);
    sub = put_short(sub, "..         ", 0x10, 0, 0);
    sub = put_short(sub, "\x05IDE       ", 0x20, 4, 512);
    put_short(sub, "BACK       ", 0x10, 3, 0);
}

static void put_image(uint8_t *image, unsigned bits)
{
    static const uint16_t links[][2] = { { 2, 0 }, { 3, 0 }, { 4, 0 }, { 5, 8 }, { 8, 6 }, { 6, 0 } };
    uint8_t *table = image + TABLE * SECTOR, *data = table + (bits == 16 ? 16 : 1) * SECTOR;
    uint32_t end = 0x0fffffffu & (bits == 32 ? ~0u : (1u << bits) - 1);

    memset(image, 0, 2 * SECTORS * SECTOR);
    put_boot(image, bits);
    put_info(image + INFO * SECTOR);
    put_link(table, bits, 0, end & ~7u);
    put_link(table, bits, 1, end);
    for (unsigned i = 0; i < ARRAY_LEN(links); i++)
        put_link(table, bits, links[i][0], links[i][1] ? links[i][1] : end);
    if (bits != 32)
        data += SECTOR; /* the root directory has a place of its own */
    put_tree(bits == 32 ? data : data - SECTOR, data + SECTOR);
    memset(data + 2 * SECTOR, 'x', 5 * SECTOR);
}

/* Each byte that matters, one after the other. */
static void write_damaged(const uint8_t *image, size_t length, unsigned bits)
{
    static const uint8_t values[] = { 0, 1, 3, 0x7f, 0xe5, 0xff };
    static uint8_t copy[2 * SECTORS * SECTOR];
    unsigned root = (TABLE + (bits == 16 ? 16 : 1)) * SECTOR;
    const unsigned ranges[][2] = { { 11, 68 }, { TABLE * SECTOR, TABLE * SECTOR + 40 }, { root, root + 224 },
                                   { root + SECTOR, root + SECTOR + 128 } };

    for (unsigned range = 0; range < ARRAY_LEN(ranges); range++) {
        for (unsigned at = ranges[range][0]; at < ranges[range][1]; at++) {
            memcpy(copy, image, length);
            copy[at] = values[(at + range) % ARRAY_LEN(values)];
            write_seed(copy, length);
        }
    }
}

int main(int argc, char **argv)
{
    static uint8_t image[2 * SECTORS * SECTOR], disk[SECTOR + sizeof image];

    if (argc != 2)
        fail("usage: seeds_files DIRECTORY");
    directory = argv[1];
    for (unsigned bits = 12; bits <= 32; bits += bits == 16 ? 16 : 4) {
        size_t length = bits == 16 ? sizeof image : sizeof image / 2;

        put_image(image, bits);
        write_seed(image, length);
        write_seed(image, length - 5 * SECTOR);
        write_damaged(image, length, bits);
        memset(disk, 0, SECTOR);
        memcpy(disk + 446, "\0\0\0\0\x0c\0\0\0\1\0\0\0", 12);
        byre_put_le32(disk + 458, (uint32_t)(length / SECTOR));
        put_le16(disk + 510, 0xaa55);
        memcpy(disk + SECTOR, image, length);
        write_seed(disk, SECTOR + length);
    }
    printf("wrote %u seeds\n", written);
    return 0;
}
