/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The image editor: see edit_image.h.  References are noted as entries are made; refcounts and COPIED flags follow from
 * them at the end.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "edit_image.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"
#include "qcow2/fmt_snapshot.h"

#define ALL_ALLOCATED 0x00000000ffffffffULL
#define ALL_ZERO      0xffffffff00000000ULL

static uint8_t *cluster_of(const struct edit_image *image, uint32_t cluster)
{
    return image->bytes + (size_t)cluster * image->cluster;
}

uint64_t edit_hoff(const struct edit_image *image, enum edit_structure structure, unsigned index)
{
    assert(index < EDIT_EACH);
    return (uint64_t)image->at[structure][index] * image->cluster;
}

uint64_t edit_get(const struct edit_image *image, enum edit_structure structure, unsigned index, uint32_t i)
{
    return byre_get_be64(image->bytes + edit_hoff(image, structure, index) + i * 8ULL);
}

void edit_put(struct edit_image *image, enum edit_structure structure, unsigned index, uint32_t i, uint64_t value)
{
    byre_put_be64(image->bytes + edit_hoff(image, structure, index) + i * 8ULL, value);
}

const char *edit_name(enum edit_structure structure)
{
    static const char *const names[] = { "header", "refcount table", "refcount block", "L1 table", "L2 table",
                                         "snapshot table", "L1 table of snapshot", "bitmap directory",
                                         "bitmap table", "bitmap", "encryption header", "data" };

    return names[structure];
}

static uint32_t append(struct edit_image *image, enum edit_structure structure, unsigned index)
{
    uint32_t cluster = image->clusters++;

    assert(cluster < EDIT_CLUSTERS && index < EDIT_EACH);
    image->at[structure][index] = cluster;
    image->references[cluster] = 1;
    return cluster;
}

static uint64_t place(const struct edit_image *image, uint32_t cluster)
{
    return (uint64_t)cluster * image->cluster;
}

/* Entry `i` of the L2 table `table`. */
static void set_entry(struct edit_image *image, unsigned table, uint32_t i, uint64_t entry, uint64_t bitmap)
{
    uint32_t words = image->entry / 8;

    edit_put(image, EDIT_L2, table, i * words, entry);
    if (words == 2)
        edit_put(image, EDIT_L2, table, i * 2 + 1, bitmap);
}

static uint32_t append_data(struct edit_image *image)
{
    uint32_t cluster = image->clusters++;

    assert(cluster < EDIT_CLUSTERS);
    image->references[cluster] = 1;
    memset(cluster_of(image, cluster), 0x40 + (int)cluster, image->cluster);
    return cluster;
}

static void add_data(struct edit_image *image, unsigned table, uint32_t i)
{
    uint64_t goff = ((uint64_t)table * (image->cluster / image->entry) + i) * image->cluster;
    uint32_t cluster;

    if (image->options.data_file) {
        set_entry(image, table, i, goff | BYRE_L2_COPIED, ALL_ALLOCATED);
        return;
    }
    cluster = append_data(image);
    if (table == 0 && i < EDIT_EACH)
        image->at[EDIT_DATA][i] = cluster;
    set_entry(image, table, i, place(image, cluster), i == 4 ? 0xff0000000000ffffULL : ALL_ALLOCATED);
}

static void add_compressed(struct edit_image *image)
{
    uint32_t cluster = append_data(image), length = image->cluster / 2 - 60;

    set_entry(image, 0, 6,
              byre_l2_compressed_entry(place(image, cluster) + 10, length, image->options.cluster_bits), 0);
    if (image->options.refcount_order == 0)
        return;
    set_entry(image, 0, 7,
              byre_l2_compressed_entry(place(image, cluster) + length + 20, length, image->options.cluster_bits), 0);
    image->references[cluster] = 2;
}

static void add_disk(struct edit_image *image)
{
    uint32_t tables[2];

    append(image, EDIT_L1, 0);
    for (unsigned i = 0; i < 2; i++) {
        tables[i] = append(image, EDIT_L2, i);
        edit_put(image, EDIT_L1, 0, i, place(image, tables[i]));
    }
    for (uint32_t i = 0; i < 6; i++)
        add_data(image, 0, i);
    if (!image->options.data_file)
        add_compressed(image);
    if (image->options.version >= 3) {
        set_entry(image, 0, 8, image->entry == 16 ? 0 : BYRE_L2_ZERO, ALL_ZERO);
        add_data(image, 0, 9);
        edit_put(image, EDIT_L2, 0, 9 * image->entry / 8,
                 edit_get(image, EDIT_L2, 0, 9 * image->entry / 8) | (image->entry == 16 ? 0 : BYRE_L2_ZERO));
        if (image->entry == 16)
            edit_put(image, EDIT_L2, 0, 19, ALL_ZERO);
    }
    add_data(image, 1, 0);
    add_data(image, 1, 1);
}

/* Of each snapshot: a table of 40 bytes, extra data, id and name. */
static void put_snapshot(struct edit_image *image, uint8_t *entry, unsigned i, uint32_t extra)
{
    byre_put_be64(entry, edit_hoff(image, EDIT_SNAPSHOT_L1, i));
    byre_put_be32(entry + 8, 2);
    byre_put_be16(entry + 12, 1);
    byre_put_be16(entry + 14, 2);
    byre_put_be32(entry + 36, extra);
    byre_put_be64(entry + 48, image->header.size);
    memcpy(entry + 40 + extra, i ? "2s2" : "1s1", 3);
}

/* Both share a first L2 table of their own and the second one of the disk. */
static void add_snapshots(struct edit_image *image)
{
    uint32_t table = append(image, EDIT_SNAPSHOTS, 0), own = append(image, EDIT_L2, 2);

    for (unsigned i = 0; i < EDIT_SNAPSHOT_COUNT; i++) {
        append(image, EDIT_SNAPSHOT_L1, i);
        edit_put(image, EDIT_SNAPSHOT_L1, i, 0, place(image, own));
        edit_put(image, EDIT_SNAPSHOT_L1, i, 1, edit_hoff(image, EDIT_L2, 1));
    }
    put_snapshot(image, cluster_of(image, table), 0, 16);
    put_snapshot(image, cluster_of(image, table) + 64, 1, 24);
    image->header.snapshot_count = EDIT_SNAPSHOT_COUNT;
    image->header.snapshots_hoff = place(image, table);
    image->references[own] = 2;
    image->references[image->at[EDIT_L2][1]] += 2;
    memcpy(cluster_of(image, own), image->bytes + edit_hoff(image, EDIT_L2, 0), image->entry * 4);
    for (unsigned i = 0; i < 4; i++)
        image->references[image->at[EDIT_DATA][i]] += 2;
    for (unsigned i = 0; i < 2; i++)
        image->references[edit_get(image, EDIT_L2, 1, i * image->entry / 8) / image->cluster] += 2;
}

static void add_bitmaps(struct edit_image *image)
{
    uint32_t directory = append(image, EDIT_DIRECTORY, 0);
    uint8_t extension[24] = { 0, 0, 0, 2, [15] = 64 };

    for (unsigned i = 0; i < 2; i++) {
        uint8_t *entry = cluster_of(image, directory) + i * 32;

        byre_put_be64(entry, place(image, append(image, EDIT_BITMAP, i)));
        byre_put_be32(entry + 8, 1);
        entry[15] = BYRE_QCOW2_AUTOCLEAR_BITMAPS << 1;
        entry[16] = 1;
        entry[17] = 31;
        byre_put_be16(entry + 18, 2);
        memcpy(entry + 24, i ? "b1" : "b0", 2);
    }
    edit_put(image, EDIT_BITMAP, 0, 0, place(image, append(image, EDIT_BITMAP_DATA, 0)));
    edit_put(image, EDIT_BITMAP, 1, 0, 1);
    byre_put_be64(extension + 16, place(image, directory));
    assert(byre_qcow2_header_add_extension(&image->header, BYRE_QCOW2_EXT_BITMAPS, extension, 24) == 0);
    image->header.autoclear |= BYRE_QCOW2_AUTOCLEAR_BITMAPS;
}

static void add_crypt(struct edit_image *image)
{
    uint8_t extension[16];

    byre_put_be64(extension, place(image, append(image, EDIT_CRYPT, 0)));
    byre_put_be64(extension + 8, image->cluster + 100);
    append(image, EDIT_CRYPT, 1);
    assert(byre_qcow2_header_add_extension(&image->header, BYRE_QCOW2_EXT_CRYPT_HEADER, extension, 16) == 0);
    image->header.crypt_method = 2;
}

static void mark_copied(struct edit_image *image, uint8_t *at)
{
    uint64_t entry = byre_get_be64(at), cluster = (entry & BYRE_L2_OFFSET_MASK) / image->cluster;

    if (cluster && !(entry & BYRE_L2_COMPRESSED) && image->references[cluster] == 1)
        byre_put_be64(at, entry | BYRE_L2_COPIED);
}

static void finish(struct edit_image *image)
{
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *table = image->bytes + edit_hoff(image, EDIT_L2, i);

        mark_copied(image, image->bytes + edit_hoff(image, EDIT_L1, 0) + i * 8);
        /* tables that others share are kept without flags; so are all of their entries */
        for (uint32_t at = 0; !image->options.data_file && at < image->cluster; at += image->entry)
            mark_copied(image, table + at);
    }
    for (uint32_t i = 0; i < image->clusters; i++)
        byre_refcount_set(image->bytes + edit_hoff(image, EDIT_REFBLOCK, 0), i, image->options.refcount_order,
                          image->references[i]);
    edit_put(image, EDIT_REFTABLE, 0, 0, edit_hoff(image, EDIT_REFBLOCK, 0));
    assert(byre_qcow2_header_serialize(&image->header, true, image->bytes, image->cluster, NULL) == 0);
}

static void prepare_header(struct edit_image *image)
{
    const struct edit_options *o = &image->options;
    struct byre_qcow2_header *h = &image->header;

    h->version = o->version;
    h->cluster_bits = o->cluster_bits;
    h->refcount_order = o->refcount_order;
    h->header_length = o->version == 2 ? 72 : 104;
    h->size = 2ULL * (image->cluster / image->entry) * image->cluster;
    h->l1_size = 2;
    h->l1_hoff = 3ULL * image->cluster;
    h->reftable_hoff = image->cluster;
    h->reftable_clusters = 1;
    h->incompatible |= o->extended ? BYRE_QCOW2_INCOMPAT_EXTENDED_L2 : 0;
    h->incompatible |= o->data_file ? BYRE_QCOW2_INCOMPAT_DATA_FILE : 0;
    h->autoclear |= o->data_file_raw ? BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW : 0;
    if (o->backing)
        h->backing_name = strdup("below");
    if (o->data_file)
        assert(byre_qcow2_header_add_extension(h, BYRE_QCOW2_EXT_DATA_FILE, "data", 4) == 0);
}

void edit_make(struct edit_image *image, const struct edit_options *options)
{
    *image = (struct edit_image){ .options = *options, .cluster = 1u << options->cluster_bits };
    image->entry = options->extended ? 16 : 8;
    image->bytes = calloc(EDIT_CLUSTERS, image->cluster);
    assert(image->bytes);
    append(image, EDIT_HEADER, 0);
    append(image, EDIT_REFTABLE, 0);
    append(image, EDIT_REFBLOCK, 0);
    prepare_header(image);
    add_disk(image);
    if (options->snapshots)
        add_snapshots(image);
    if (options->bitmaps)
        add_bitmaps(image);
    if (options->luks)
        add_crypt(image);
    finish(image);
}

void edit_done(struct edit_image *image)
{
    free(image->bytes);
    byre_qcow2_header_done(&image->header);
}

/* --- reading --------------------------------------------------------------------------------------------- */

struct reader {
    struct byre_store *store;
    struct byre_qcow2_header header;
    uint64_t size;
    uint32_t cluster, entry;
};

static uint64_t word(const struct reader *r, uint64_t hoff)
{
    uint8_t bytes[8] = { 0 };

    if (byre_store_pread(r->store, bytes, sizeof bytes, hoff, NULL) < 0)
        return 0;
    return byre_get_be64(bytes);
}

/* Where the L1 table is; false if there is no such snapshot. */
static bool find_l1(const struct reader *r, int snapshot, uint64_t *ret_l1)
{
    uint64_t at = r->header.snapshots_hoff;

    *ret_l1 = r->header.l1_hoff;
    if (snapshot < 0)
        return true;
    for (uint32_t i = 0; i < r->header.snapshot_count; i++) {
        uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD];
        struct byre_qcow2_snapshot entry;
        char id = 0;

        if (byre_store_pread(r->store, head, sizeof head, at, NULL) < 0)
            return false;
        byre_qcow2_snapshot_decode(head, 0, &entry);
        byre_store_pread(r->store, &id, 1, at + byre_qcow2_snapshot_id_at(&entry), NULL);
        if (id == '1' + snapshot) {
            *ret_l1 = entry.l1_hoff;
            return byre_is_aligned(entry.l1_hoff, r->cluster) && entry.l1_size == 2;
        }
        at += byre_qcow2_snapshot_length(&entry);
    }
    return false;
}

static bool is_sound(const struct reader *r, uint64_t entry, uint64_t reserved)
{
    return !(entry & reserved) && byre_is_aligned(byre_l2_offset(entry), r->cluster);
}

static bool read_entry(const struct reader *r, uint64_t entry, uint64_t bitmap, uint8_t *ret)
{
    bool data_file = r->header.incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE;
    uint64_t hoff = byre_l2_offset(entry);

    if (entry & BYRE_L2_COMPRESSED) {
        uint32_t length = byre_l2_compressed_stored(entry, r->header.cluster_bits);

        hoff = entry & ((1ULL << byre_l2_compressed_shift(r->header.cluster_bits)) - 1);
        if (data_file || bitmap || entry & BYRE_L2_COPIED || hoff + length > r->size)
            return false;
        return byre_store_pread(r->store, ret, MIN(length, r->cluster + r->cluster / 2), hoff, NULL) == 0;
    }
    if (!is_sound(r, entry, BYRE_L2_RESERVED_MASK))
        return false;
    if (r->entry == 16 && ((bitmap & ALL_ALLOCATED & bitmap >> 32) ||
                           (!hoff && !(data_file && entry & BYRE_L2_COPIED) && (bitmap & ALL_ALLOCATED))))
        return false;
    if (r->header.version >= 3 && r->entry == 8 && (entry & BYRE_L2_ZERO))
        return true;
    if (r->entry == 16 && bitmap == ALL_ZERO)
        return true;
    if (hoff == 0 && !(data_file && (entry & BYRE_L2_COPIED)))
        ret[r->cluster + 9] = r->header.backing_name != NULL; /* no mapping */
    if (hoff == 0 && !data_file && bitmap == 0)
        return true;
    if (!data_file && hoff >= r->size)
        return true; /* there is nothing */
    memset(ret + r->cluster, (int)(bitmap % 251), 8); /* what a subcluster is, is part of the contents */
    if (data_file)
        byre_put_be64(ret, hoff);
    else if (hoff)
        return byre_store_pread(r->store, ret, r->cluster, hoff, NULL) == 0;
    return true;
}

bool edit_read(struct byre_store *store, int snapshot, unsigned number, uint8_t *ret)
{
    struct reader r = { .store = store };
    uint64_t l1, l1_entry, l2, at;
    uint8_t head[512];
    bool sound = false;

    if (byre_store_size(store, &r.size, NULL) < 0 || byre_store_pread(store, head, sizeof head, 0, NULL) < 0)
        return false;
    memset(head + BYRE_QCOW2_AT_REFTABLE, 0, 12); /* contents do not depend on refcounts */
    if (byre_qcow2_header_parse(head, sizeof head, &r.header, NULL) < 0)
        return false;
    r.cluster = 1u << r.header.cluster_bits;
    r.entry = r.header.incompatible & BYRE_QCOW2_INCOMPAT_EXTENDED_L2 ? 16 : 8;
    memset(ret, 0, r.cluster + r.cluster / 2);
    if (find_l1(&r, snapshot, &l1)) {
        l1_entry = word(&r, l1 + number / (EDIT_GUEST / 2) * 8);
        l2 = l1_entry & BYRE_L1_OFFSET_MASK;
        at = l2 + number % (EDIT_GUEST / 2) * (uint64_t)r.entry;
        sound = is_sound(&r, l1_entry, BYRE_L1_RESERVED_MASK);
        if (sound && l2)
            sound = read_entry(&r, word(&r, at), r.entry == 16 ? word(&r, at + 8) : 0, ret);
        else if (sound)
            ret[r.cluster + 9] = r.header.backing_name != NULL;
    }
    byre_qcow2_header_done(&r.header);
    return sound;
}
