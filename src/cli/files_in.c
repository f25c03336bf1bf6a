/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a file system inside an image, and the complaints about it.
 */
#include "config.h"

#include "cli/files_in.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "byre/partition.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/safe_text.h"

static int read_number(const char *text, unsigned *ret_number)
{
    unsigned long number;
    char *end;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (text[strspn(text, "0123456789")] || !*text || errno || !number || number > 0xffffffff) {
        byre_complain("Invalid partition number '%s'", text);
        return -1;
    }
    *ret_number = (unsigned)number;
    return 0;
}

int byre_files_in_option(struct byre_files_in *in, int id, const char *argument)
{
    switch (id) {
    case 'p': return read_number(argument, &in->partition);
    case BYRE_OPT_SNAPSHOT: return byre_snapshot_param_read(&in->snapshot, argument);
    case 'f': in->format = argument; return 0;
    case 'U': in->force_share = true; return 0;
    case BYRE_OPT_IMAGE_OPTS: in->image_opts = true; return 0;
    case BYRE_OPT_ALLOW_BACKING: return byre_argument_allow_backing(argument, &in->allow_protocol);
    default: return 1;
    }
}

static int open_disk(struct byre_files_in *in)
{
    struct byre_snapshot_selector selector;
    struct byre_open_options options = {
        .format = in->format,
        .force_share = in->force_share,
        .protocol_backing = byre_argument_protocol_backing(in->allow_protocol),
        .secrets = byre_objects_secrets(),
    };

    if (byre_snapshot_param_selector(&in->snapshot, &selector))
        options.snapshot = &selector;
    return byre_argument_open(in->image, in->image_opts, &options, &in->disk);
}

static int stop_at_first(void *opaque, const struct byre_partition *partition)
{
    (void)opaque;
    (void)partition;
    return 1;
}

/* What of a mount the kernel could be given. */
static void print_raw_name(const struct byre_files_in *in, char *name, size_t size)
{
    if (in->partition)
        snprintf(name, size, "partitions/%u.raw", in->partition);
    else if (byre_partitions(in->disk, stop_at_first, NULL, NULL, NULL) > 0)
        snprintf(name, size, "partitions/N.raw");
    else
        snprintf(name, size, "disk.raw");
}

/* What the user can do about it is said, too. */
static int complain_files(const struct byre_files_in *in, const struct byre_error *err)
{
    char name[64];

    if (err->code == -ENOTUNIQ)
        return byre_complain("'%s': %s; choose one with -p", in->image, err->text);
    if (err->code != -ENOTSUP)
        return byre_complain("'%s': %s", in->image, err->text);
    print_raw_name(in, name, sizeof name);
    return byre_complain("'%s': %s\nThe kernel may know it: byre mount IMAGE DIR, and then, as root, "
                         "mount -o loop,ro DIR/%s /mnt",
                         in->image, err->text, name);
}

int byre_files_in_open(struct byre_files_in *in)
{
    struct byre_error err = BYRE_ERROR_INIT;
    const char *warning;

    if (open_disk(in) < 0)
        return 1;
    if (byre_files_open_in(in->disk, in->partition, &in->files, NULL, &err) < 0)
        return complain_files(in, &err);
    warning = byre_files_warning(in->files);
    if (warning)
        byre_complain("warning: '%s': %s", in->image, warning);
    return 0;
}

void byre_files_in_close(struct byre_files_in *in)
{
    byre_files_close(in->files);
    byre_close(in->disk, NULL); /* nothing was written */
    byre_snapshot_param_done(&in->snapshot);
}

int byre_files_in_complain(const struct byre_files_in *in, const char *what, const char *path,
                           const struct byre_error *err)
{
    CLEANUP(free_ptr) char *shown = byre_safe_text(path, NULL), *text = byre_safe_text(err->text, NULL);

    return byre_complain("could not %s '%s' in '%s': %s", what, shown, in->image, text);
}
