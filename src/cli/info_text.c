/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The text of byre info.
 */
#include "config.h"

#include "cli/info_print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/size.h"

static const char *yes_no(bool value)
{
    return value ? "true" : "false";
}

static void print_snapshot(const struct byre_snapshot_info *snapshot)
{
    char size[BYRE_SIZE_TEXT_MAX], date[64] = "", clock[64], icount[24] = "";
    uint64_t seconds = snapshot->vm_clock_nsec / 1000000000;
    time_t when = snapshot->date_sec;
    struct tm tm;

    if (localtime_r(&when, &tm))
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(clock, sizeof clock, "%02" PRIu64 ":%02u:%02u.%03u", seconds / 3600,
             (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60),
             (unsigned)(snapshot->vm_clock_nsec / 1000000 % 1000));
    if (snapshot->icount != UINT64_MAX)
        snprintf(icount, sizeof icount, "%" PRIu64, snapshot->icount);
    printf("%-9s %-16s %8s%20s%13s%11s\n", snapshot->id, snapshot->name,
           byre_size_format(snapshot->vm_state_size, size, sizeof size), date, clock, icount);
}

void byre_info_print_snapshots(const struct byre_info *info)
{
    if (!info->snapshot_count)
        return;
    printf("Snapshot list:\n");
    printf("%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for (unsigned i = 0; i < info->snapshot_count; i++)
        print_snapshot(&info->snapshots[i]);
}

static void print_bitmaps(const struct byre_info *info)
{
    if (info->bitmap_count)
        printf("    bitmaps:\n");
    for (unsigned i = 0; i < info->bitmap_count; i++) {
        const struct byre_bitmap_info *bitmap = &info->bitmaps[i];
        unsigned flag = 0;

        printf("        [%u]:\n            flags:\n", i);
        if (bitmap->in_use)
            printf("                [%u]: in-use\n", flag++);
        if (bitmap->enabled)
            printf("                [%u]: auto\n", flag);
        printf("            name: %s\n            granularity: %" PRIu64 "\n", bitmap->name,
               bitmap->granularity);
    }
}

/* `indent` spaces, then the text. */
static void line(unsigned indent, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(unsigned indent, const char *format, ...)
{
    va_list args;

    printf("%*s", (int)indent, "");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static void print_luks(const struct byre_info *info, unsigned indent)
{
    const struct byre_luks_info *luks = &info->luks;

    line(indent, "ivgen alg: %s", luks->ivgen_alg);
    line(indent, "hash alg: %s", luks->hash_alg);
    line(indent, "cipher alg: %s", luks->cipher_alg);
    line(indent, "uuid: %s", luks->uuid);
    if (luks->ivgen_hash_alg)
        line(indent, "ivgen hash alg: %s", luks->ivgen_hash_alg);
    if (strcmp(info->format, "luks") != 0)
        line(indent, "format: luks");
    line(indent, "cipher mode: %s", luks->cipher_mode);
    line(indent, "slots:");
    for (unsigned i = 0; i < 8; i++) {
        const struct byre_luks_slot_info *slot = &luks->slots[i];

        line(indent + 4, "[%u]:", i);
        line(indent + 8, "active: %s", yes_no(slot->active));
        if (slot->active)
            line(indent + 8, "iters: %" PRIu32, slot->iters);
        line(indent + 8, "key offset: %" PRIu64, slot->key_offset);
        if (slot->active)
            line(indent + 8, "stripes: %" PRIu32, slot->stripes);
    }
    line(indent, "payload offset: %" PRIu64, luks->payload_offset);
    line(indent, "master key iters: %" PRIu32, luks->master_key_iters);
}

static void print_encryption(const struct byre_info *info)
{
    if (!info->encryption_format)
        return;
    printf("    encrypt:\n");
    if (strcmp(info->encryption_format, "luks") == 0)
        print_luks(info, 8);
    else
        line(8, "format: %s", info->encryption_format);
}

void byre_info_print_specific(const struct byre_info *info)
{
    if (strcmp(info->format, "luks") == 0) {
        printf("Format specific information:\n");
        print_luks(info, 4);
    }
    if (strcmp(info->format, "qcow2") != 0)
        return;
    printf("Format specific information:\n");
    printf("    compat: %s\n", info->version < 3 ? "0.10" : "1.1");
    printf("    compression type: %s\n", info->compression_type);
    if (info->version >= 3) {
        printf("    lazy refcounts: %s\n", yes_no(info->lazy_refcounts));
        print_bitmaps(info);
    }
    printf("    refcount bits: %u\n", info->refcount_bits);
    print_encryption(info);
    if (info->data_file)
        printf("    data file: %s\n    data file raw: %s\n", info->data_file, yes_no(info->data_file_raw));
    if (info->version >= 3) {
        printf("    corrupt: %s\n", yes_no(info->corrupt));
        printf("    extended l2: %s\n", yes_no(info->extended_l2));
    }
}

static void print_backing(const struct byre_info *info)
{
    if (!info->backing_name)
        return;
    printf("backing file: %s", info->backing_name);
    if (!info->backing_path)
        printf(" (cannot determine actual path)");
    else if (strcmp(info->backing_name, info->backing_path) != 0)
        printf(" (actual path: %s)", info->backing_path);
    putchar('\n');
    if (info->backing_format)
        printf("backing file format: %s\n", info->backing_format);
}

void byre_info_print_text(const struct byre_info *info)
{
    char size[BYRE_SIZE_TEXT_MAX];

    printf("image: %s\nfile format: %s\n", info->name, info->format);
    printf("virtual size: %s (%" PRIu64 " bytes)\n", byre_size_format(info->virtual_size, size, sizeof size),
           info->virtual_size);
    printf("disk size: %s\n", info->allocated_size == UINT64_MAX
                                  ? "unavailable"
                                  : byre_size_format(info->allocated_size, size, sizeof size));
    if (info->encrypted)
        printf("encrypted: yes\n");
    if (info->cluster_size)
        printf("cluster_size: %" PRIu32 "\n", info->cluster_size);
    if (info->dirty)
        printf("cleanly shut down: no\n");
    print_backing(info);
    byre_info_print_snapshots(info);
    byre_info_print_specific(info);
}
