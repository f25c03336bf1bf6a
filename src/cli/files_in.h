/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file system inside an image, for the verbs that look into one: the options that say which, opening it, and the
 * names of what is in it, which a stranger chose, in messages.
 */
#ifndef BYRE_CLI_FILES_IN_H
#define BYRE_CLI_FILES_IN_H

#include <stdbool.h>

#include "byre/disk.h"
#include "byre/files.h"
#include "cli/objects.h"
#include "cli/options.h"
#include "cli/snapshot_param.h"

enum {
    BYRE_OPT_SNAPSHOT = BYRE_OPTION_LONG,
    BYRE_OPT_OBJECT,
    BYRE_OPT_IMAGE_OPTS,
    BYRE_OPT_ALLOW_BACKING,
    BYRE_OPT_FILES_IN_END, /* ids of a verb's own options start here */
};

/* Of the table of each of these verbs. */
#define BYRE_FILES_IN_OPTIONS \
    { 'p', "partition", "N", "the file system in that partition; by default the only one that can be read" }, \
    { BYRE_OPT_SNAPSHOT, "snapshot", "SNAPSHOT_PARAM", "what a snapshot has: its id, or its name" }, \
    { 'f', "format", "FMT", "format of the image; by default it is probed" }, \
    { 'U', "force-share", NULL, "open the image although another program writes to it" }, \
    { BYRE_OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP }, \
    { BYRE_OPT_IMAGE_OPTS, "image-opts", NULL, "IMAGE is a list of options: driver=qcow2,file.filename=..." }, \
    { BYRE_OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" }

struct byre_files_in {
    const char *image; /* as the user wrote it */
    const char *format;
    unsigned partition; /* 0: not named */
    struct byre_snapshot_param snapshot;
    bool force_share, image_opts, allow_protocol;

    struct byre_disk *disk; /* once it is open */
    struct byre_files *files;
};

/* Takes one of the options above: 0, or -1 after a complaint; 1: it is none of them. */
int byre_files_in_option(struct byre_files_in *in, int id, const char *argument);

/* Opens in->image: 0, or 1 after a complaint.  Warns of what the file system says of itself. */
int byre_files_in_open(struct byre_files_in *in);
void byre_files_in_close(struct byre_files_in *in);

/* "could not VERB 'PATH' in 'IMAGE': what the error says".  Returns 1. */
int byre_files_in_complain(const struct byre_files_in *in, const char *what, const char *path,
                           const struct byre_error *err);

#endif
