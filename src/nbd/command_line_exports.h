/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The options that say what is exported, besides the operand: further exports, a directory, parts of images.
 */
#ifndef BYRE_NBD_COMMAND_LINE_EXPORTS_H
#define BYRE_NBD_COMMAND_LINE_EXPORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "cli/options.h"
#include "cli/snapshot_param.h"
#include "nbd/directory.h"

enum {
    BYRE_NBD_OPT_EXPORT = BYRE_OPTION_LONG + 200,
    BYRE_NBD_OPT_EXPORT_DIR,
    BYRE_NBD_OPT_PARTITION,
    BYRE_NBD_OPT_PARTITIONS,
    BYRE_NBD_OPT_SNAPSHOTS,
};

/* Their part of the table. */
#define BYRE_NBD_EXPORT_OPTIONS \
    { 'l', "load-snapshot", "SNAPSHOT", "the image as it was at an internal snapshot, read-only" }, \
    { 'o', "offset", "OFFSET", "where in the image the export begins" }, \
    { 's', "snapshot", NULL, "what is written goes to a temporary file" }, \
    { BYRE_NBD_OPT_EXPORT, "export", "OPTIONS", "a further export: name=NAME,file=IMAGE,...; may be repeated" }, \
    { BYRE_NBD_OPT_EXPORT_DIR, "export-dir", "DIR", "each image of a directory is an export, by its name" }, \
    { BYRE_NBD_OPT_PARTITION, "partition", "N", "one partition of the image" }, \
    { BYRE_NBD_OPT_PARTITIONS, "partitions", NULL, "partitions are exports, too: NAME#N" }, \
    { BYRE_NBD_OPT_SNAPSHOTS, "snapshots", NULL, "internal snapshots are exports, too: NAME@SNAPSHOT" },

struct byre_nbd_export_arguments {
    VEC(const char *) exports;
    const char *directory;
    struct byre_snapshot_param snapshot;
    const char *offset, *partition; /* as they were written */
    bool temporary, snapshots, partitions;
    bool failed; /* after a complaint */
};

struct byre_nbd_command_line;

/* Takes one of the options above: false if it is none. */
bool byre_nbd_export_argument(struct byre_nbd_export_arguments *arguments, int id, const char *text);
/* Is there something to export besides the operand? */
bool byre_nbd_export_arguments_given(const struct byre_nbd_export_arguments *arguments);
/* Was any of them given? */
bool byre_nbd_export_arguments_used(const struct byre_nbd_export_arguments *arguments);
void byre_nbd_export_arguments_done(struct byre_nbd_export_arguments *arguments);

/* Refuses what does not go together: -1 after a complaint. */
int byre_nbd_exports_check(const struct byre_nbd_command_line *line);

/* Opens all that is to be exported: the exit code.  *ret_directory: NULL where there is none. */
int byre_nbd_exports_open(const struct byre_nbd_command_line *line, struct byre_nbd_exports *exports,
                          struct byre_nbd_directory **ret_directory);

#endif
