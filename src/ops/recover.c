/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recovering: writes what the tables that were found lead to into a new image, table by table.  The damaged image is
 * opened for reading only.
 */
#include "config.h"

#include "byre/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/zero.h"
#include "byre/create.h"
#include "disk/encrypt.h"
#include "disk/node.h"
#include "disk/open.h"
#include "qcow2/compress.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/recover.h"

#define SUBCLUSTERS 32u
#define EXTENDED_CLUSTER_MIN (SUBCLUSTERS * 512u)

struct job {
    const struct byre_recover_options *options;
    struct byre_recover_result *result;
    struct byre_recover_plan plan;
    struct byre_disk *output;
    struct byre_codec *codec;
    uint32_t cluster;
    uint8_t *table, *data, *stored; /* a cluster; a cluster; two of them */
    struct byre_error *err;
};

static void tell(struct job *job, const struct byre_recover_part *part)
{
    switch (part->certainty) {
    case BYRE_RECOVER_CERTAIN: job->result->certain_parts++; break;
    case BYRE_RECOVER_GUESSED: job->result->guessed_parts++; break;
    case BYRE_RECOVER_LOST: job->result->lost_parts++; break;
    case BYRE_RECOVER_UNPLACED: job->result->unplaced_tables++; break;
    }
    job->result->clusters += part->certainty <= BYRE_RECOVER_GUESSED ? part->clusters : 0;
    job->result->broken_clusters += part->broken_clusters;
    if (job->options->part)
        job->options->part(job->options->opaque, part);
}

/* The bytes of a compressed cluster, in job->data; false if there are none. */
static bool inflate(struct job *job, uint64_t entry)
{
    unsigned bits = job->plan.header.cluster_bits;
    uint32_t stored = byre_l2_compressed_stored(entry, bits);

    if (stored > 2 * job->cluster ||
        byre_store_pread(job->plan.store, job->stored, stored, byre_l2_compressed_offset(entry, bits), NULL) < 0)
        return false;
    return byre_codec_decompress(job->codec, job->stored, stored, job->data, job->cluster, NULL) == 0;
}

static int put(struct job *job, uint64_t goff, uint64_t from, uint64_t length)
{
    if (goff + from >= job->result->size)
        return 0;
    length = MIN(length, job->result->size - goff - from);
    if (!job->plan.header.backing_name && byre_is_zero(job->data + from, (size_t)length))
        return 0; /* a new image is zero */
    return byre_pwrite(job->output, job->data + from, (size_t)length, goff + from, job->err);
}

/* Zeros hide what a backing file has there. */
static int put_zeros(struct job *job, uint64_t goff, uint64_t from, uint64_t length)
{
    if (!job->plan.header.backing_name || goff + from >= job->result->size)
        return 0;
    return byre_write_zeroes(job->output, goff + from, MIN(length, job->result->size - goff - from),
                             BYRE_WRITE_ZEROES_UNMAP, job->err);
}

static int put_subclusters(struct job *job, uint64_t goff, uint64_t bitmap)
{
    uint64_t size = job->cluster / SUBCLUSTERS;
    int rc = 0;

    for (unsigned i = 0; i < SUBCLUSTERS && rc == 0; i++) {
        if (bitmap >> i & 1)
            rc = put(job, goff, i * size, size);
        else if (bitmap >> (i + 32) & 1)
            rc = put_zeros(job, goff, i * size, size);
    }
    return rc;
}

/* Writes what the entry leads to; `part` counts it. */
static int put_entry(struct job *job, uint64_t goff, uint64_t entry, uint64_t bitmap, struct byre_recover_part *part)
{
    bool extended = job->plan.entry_size == 16, sound = byre_recover_is_entry(&job->plan, entry, bitmap);
    bool placed = byre_recover_has_cluster(&job->plan, entry);
    uint64_t hoff = byre_l2_offset(entry);

    if (sound && (entry & BYRE_L2_COMPRESSED))
        sound = inflate(job, entry);
    else if (sound && placed && (extended || !(entry & BYRE_L2_ZERO) || job->plan.header.version < 3))
        sound = hoff < job->plan.data_size &&
                byre_recover_contents_read(&job->plan, hoff, goff, job->data, job->cluster) == 0;
    if (!sound) {
        part->broken_clusters++;
        return 0;
    }
    if (!extended && !(entry & BYRE_L2_COMPRESSED) && (entry & BYRE_L2_ZERO) && job->plan.header.version >= 3)
        return put_zeros(job, goff, 0, job->cluster);
    if (!placed && !(entry & BYRE_L2_COMPRESSED))
        return extended ? put_subclusters(job, goff, bitmap) : 0;
    part->clusters++;
    return extended && !(entry & BYRE_L2_COMPRESSED) ? put_subclusters(job, goff, bitmap)
                                                      : put(job, goff, 0, job->cluster);
}

/* Entries that make no sense are left out.  A table with some is what is left of one. */
static int put_table(struct job *job, const struct byre_recover_table *table)
{
    uint64_t span = byre_recover_span(&job->plan);
    struct byre_recover_part part = {
        .goff = table->index * span, .length = span, .table_hoff = table->hoff, .certainty = table->certainty,
        .why = table->why,
    };
    int rc = 0;

    if (byre_store_pread(job->plan.store, job->table, job->cluster, table->hoff, NULL) < 0)
        memset(job->table, 0xff, job->cluster);
    part.length = MIN(span, job->result->size - MIN(job->result->size, part.goff));
    for (uint32_t i = 0; i < job->cluster / job->plan.entry_size && rc == 0; i++) {
        const uint8_t *at = job->table + i * job->plan.entry_size;

        rc = put_entry(job, part.goff + (uint64_t)i * job->cluster, byre_get_be64(at),
                       job->plan.entry_size == 16 ? byre_get_be64(at + 8) : 0, &part);
    }
    if (part.broken_clusters && part.clusters) {
        part.certainty = BYRE_RECOVER_GUESSED;
        part.why = "what is left of an L2 table that is destroyed in part";
    } else if (part.broken_clusters) {
        part.certainty = BYRE_RECOVER_LOST;
        part.why = "nothing is left of its L2 table";
    }
    tell(job, &part);
    return rc;
}

static void tell_rest(struct job *job)
{
    uint64_t span = byre_recover_span(&job->plan);

    for (size_t i = 0; i < job->plan.lost.len; i++)
        tell(job, &(struct byre_recover_part){ job->plan.lost.ptr[i] * span, span, 0, BYRE_RECOVER_LOST,
                                               "its entry of the L1 table is destroyed", 0, 0 });
    for (size_t i = 0; i < job->plan.tables.len; i++) {
        const struct byre_recover_table *table = &job->plan.tables.ptr[i];
        struct byre_recover_part part = { 0, span, table->hoff, BYRE_RECOVER_UNPLACED, table->why, 0, 0 };

        if (table->index != BYRE_RECOVER_NOWHERE)
            continue;
        if (byre_store_pread(job->plan.store, job->table, job->cluster, table->hoff, NULL) == 0) {
            for (uint32_t at = 0; at < job->cluster; at += job->plan.entry_size)
                part.clusters += byre_recover_has_cluster(&job->plan, byre_get_be64(job->table + at));
        }
        tell(job, &part);
    }
}

/* As far as anything is mapped. */
static uint64_t guess_size(struct job *job)
{
    uint64_t span = byre_recover_span(&job->plan), size = 0;

    for (size_t i = 0; i < job->plan.tables.len; i++) {
        const struct byre_recover_table *table = &job->plan.tables.ptr[i];

        if (table->index == BYRE_RECOVER_NOWHERE || table->index > INT64_MAX / span - 1 ||
            byre_store_pread(job->plan.store, job->table, job->cluster, table->hoff, NULL) < 0)
            continue;
        for (uint32_t k = 0; k < job->cluster / job->plan.entry_size; k++) {
            if (!byre_is_zero(job->table + k * job->plan.entry_size, job->plan.entry_size))
                size = MAX(size, table->index * span + (k + 1ULL) * job->cluster);
        }
    }
    return size;
}

static int find_size(struct job *job)
{
    job->result->size_known = job->plan.header_known;
    job->result->size = job->plan.header.size;
    if (job->options->size) {
        job->result->size = job->options->size;
        job->result->size_known = BYRE_RECOVER_CERTAIN;
    } else if (job->plan.header_known == BYRE_RECOVER_LOST) {
        job->result->size = guess_size(job);
        job->result->size_known = BYRE_RECOVER_GUESSED;
    }
    job->result->cluster_size = job->cluster;
    job->result->header = job->plan.header_known;
    job->result->l1 = job->plan.l1_known;
    job->result->cluster_size_known = job->plan.cluster_size_known;
    if (!job->plan.header.backing_name)
        return 0;
    job->result->backing_name = strdup(job->plan.header.backing_name);
    return job->result->backing_name ? 0 : byre_error_set_errno(job->err, -ENOMEM, "recovering");
}

/* A backing file is recorded, and not opened: it may be as lost as the rest. */
static int write_output(struct job *job, const char *output)
{
    bool raw = job->options->format && strcmp(job->options->format, "raw") == 0;
    struct byre_create_options create = {
        .format = raw ? "raw" : "qcow2",
        .size = job->result->size,
        .cluster_size = raw ? 0 : job->cluster,
        /* So that subclusters without a mapping go on showing what is below. */
        .extended_l2 = !raw && job->plan.entry_size == 16 && job->cluster >= EXTENDED_CLUSTER_MIN,
        .backing_name = raw ? NULL : job->plan.header.backing_name,
        .backing_format = raw || !job->plan.header.backing_name ? NULL
                          : job->plan.header.backing_format ? job->plan.header.backing_format : "raw",
    };
    struct byre_open_options open_options = { .writable = true, .no_backing = true };
    int rc = byre_create_open(output, &create, &open_options, &job->output, job->err);

    for (size_t i = 0; i < job->plan.tables.len && rc == 0; i++) {
        if (job->plan.tables.ptr[i].index != BYRE_RECOVER_NOWHERE)
            rc = put_table(job, &job->plan.tables.ptr[i]);
        if (job->options->progress)
            job->options->progress(job->options->opaque, i + 1, job->plan.tables.len);
    }
    if (rc == 0)
        tell_rest(job);
    return rc == 0 ? byre_seal(job->output, job->err) : rc;
}

static int run(struct job *job, const struct byre_recover_input *input, const char *output)
{
    int rc = byre_recover_plan_make(input, job->options, &job->plan, job->err);

    if (rc < 0)
        return rc;
    job->cluster = 1u << job->plan.header.cluster_bits;
    job->table = malloc(job->cluster);
    job->data = malloc(job->cluster);
    job->stored = malloc(2ULL * job->cluster);
    if (!job->table || !job->data || !job->stored)
        return byre_error_set_errno(job->err, -ENOMEM, "recovering");
    rc = byre_codec_new(job->plan.header.compression, 0, &job->codec, job->err);
    if (rc == 0)
        rc = find_size(job);
    return rc == 0 ? write_output(job, output) : rc;
}

/* The output must not be one of the files that are read: making it would be the end of both. */
static int check_output(const struct byre_node *node, const char *what, const char *output, struct byre_error *err)
{
    struct stat st;
    const char *path = strncmp(output, "file:", 5) == 0 ? output + 5 : output;

    if (node->has_file && stat(path, &st) == 0 && st.st_dev == node->dev && st.st_ino == node->ino)
        return byre_error_set(err, -EINVAL, "'%s' is the %s itself", output, what);
    return 0;
}

static int check_options(const struct byre_recover_options *options, struct byre_error *err)
{
    uint32_t cluster = options->cluster_size;

    if (options->format && strcmp(options->format, "qcow2") != 0 && strcmp(options->format, "raw") != 0)
        return byre_error_set(err, -EINVAL, "Unknown file format '%s'", options->format);
    if (cluster && (!byre_is_power_of_two(cluster) || cluster < 512 || cluster > 2u << 20))
        return byre_error_set(err, -EINVAL,
                              "Cluster size must be a power of two between 512 and 2048k (it is %" PRIu32 ")",
                              cluster);
    if (!byre_is_aligned(options->size, 512))
        return byre_error_set(err, -EINVAL, "The size of a disk is a multiple of 512 bytes (it is %" PRIu64 ")",
                              options->size);
    return 0;
}

static void job_done(struct job *job)
{
    byre_codec_free(job->codec);
    byre_recover_plan_done(&job->plan);
    free(job->table);
    free(job->data);
    free(job->stored);
}

/* As raw: whether it is an image at all is what is to be found out. */
static int open_file(const char *name, const struct byre_recover_options *options, struct byre_source *ret_source,
                     struct byre_error *err)
{
    struct byre_node_mode mode = { .force_share = options->force_share };
    int rc = byre_source_open_name(name, "raw", &mode, false, ret_source, err);

    if (rc < 0)
        byre_disk_name_error(err, name);
    return rc;
}

/* `data` is NULL where there is no data file. */
static int recover(struct job *job, const struct byre_source *image, const struct byre_source *data, const char *output)
{
    struct byre_recover_input input = { .image = image->node.store, .data_file = data ? data->node.store : NULL };
    int rc = check_output(&image->node, "damaged image", output, job->err);

    if (rc == 0 && data)
        rc = check_output(&data->node, "data file of the damaged image", output, job->err);
    if (rc == 0)
        rc = byre_encrypt_find(job->options->secrets, job->options->key_secret, &input.password, job->err);
    if (rc == 0)
        rc = run(job, &input, output);
    if (job->output) {
        int closed = byre_close(job->output, rc == 0 ? job->err : NULL);

        rc = rc == 0 ? closed : rc;
    }
    return rc;
}

int byre_recover(const char *name, const char *output, const struct byre_recover_options *options,
                 struct byre_recover_result *ret_result, struct byre_error *err)
{
    static const struct byre_recover_options defaults;
    struct byre_recover_result result = { 0 };
    struct job job = { .options = options ? options : &defaults, .result = &result, .err = err };
    struct byre_source image, data;
    const char *data_name = job.options->data_file;
    int rc = check_options(job.options, err);

    if (rc < 0 || (rc = open_file(name, job.options, &image, err)) < 0)
        return rc;
    if (data_name)
        rc = open_file(data_name, job.options, &data, err);
    if (rc == 0) {
        rc = recover(&job, &image, data_name ? &data : NULL, output);
        if (data_name)
            byre_source_done(&data);
    }
    job_done(&job);
    byre_source_done(&image);
    if (rc == 0)
        *ret_result = result;
    else
        free(result.backing_name);
    return rc;
}
