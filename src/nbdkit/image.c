/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing the disk that all connections share.
 *
 *   I1. nbdkit tells that a server is read-only (-r), or that a filter wants nothing but reads, when a connection
 *       comes, and not before.  So the disk is opened by the first connection, and for writing only if that may
 *       write: a server with -r takes no lock that keeps other readers away, and works on read-only media.
 *   I2. Mistakes shall be told at the start all the same: the disk is opened for reading then, and closed.
 *   I3. From the first connection on the disk stays open, with its locks, until nbdkit ends; it is opened again
 *       only when it was open for reading, nobody has it, and a connection comes that may write.
 */
#include "config.h"

#include "nbdkit/image.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/info.h"
#include "byre/snapshot.h"

/* What a format without clusters likes: a page. */
#define PREFERRED_MIN 4096u

static struct {
    pthread_mutex_t mutex; /* for both */
    struct byre_image image;
    unsigned connections;
} shared = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* Under which key the password belongs depends on the format. */
static int password_key(const struct byre_parameters *parameters, const char **ret_key, struct byre_error *err)
{
    struct byre_info info;
    int r = byre_info_read_as(parameters->name, parameters->format, true, parameters->secrets, &info, err);

    if (r < 0)
        return r;
    if (strcmp(info.format, "luks") == 0)
        *ret_key = "key-secret";
    else if (info.encryption_format)
        *ret_key = "encrypt.key-secret";
    else
        r = byre_error_set(err, -EINVAL, "'%s' is not encrypted, and a password was given", info.name);
    byre_info_done(&info);
    return r;
}

/* What parameters say, as options over the name. */
static int make_options(const struct byre_parameters *parameters, char **ret_options, struct byre_error *err)
{
    const char *key = NULL;
    int r = parameters->has_password ? password_key(parameters, &key, err) : 0;

    if (r < 0)
        return r;
    if (asprintf(ret_options, "%s%s%s%s%s", key ? key : "", key ? "=" : "", key ? BYRE_PASSWORD_ID : "",
                 key && parameters->discard_set ? "," : "",
                 !parameters->discard_set        ? "" :
                 parameters->discard_ignored     ? "discard=ignore" :
                                                   "discard=unmap") < 0) {
        *ret_options = NULL;
        return byre_error_set_errno(err, -ENOMEM, "could not note the options");
    }
    return 0;
}

/* Opens the image that the parameters name; `only_names`: to see what its chain is, whoever writes to it. */
static int open_named(const struct byre_parameters *parameters, bool writable, bool only_names,
                      struct byre_disk **ret_disk, struct byre_error *err)
{
    CLEANUP(free_ptr) char *options = NULL;
    struct byre_open_options open_options = {
        .format = parameters->format,
        .cache = parameters->cache,
        .writable = writable,
        .no_backing = !only_names && parameters->no_backing,
        .force_share = only_names,
        .detect_zeroes = parameters->detect_zeroes,
        .protocol_backing = parameters->protocol_backing,
        .secrets = parameters->secrets,
        .snapshot = parameters->snapshot && !only_names
                        ? &(struct byre_snapshot_selector){ .any = parameters->snapshot }
                        : NULL,
    };
    int r = make_options(parameters, &options, err);

    if (r < 0)
        return r;
    open_options.options = options && *options ? options : NULL;
    return byre_open(parameters->name, &open_options, ret_disk, err);
}

/* The name of the layer that is asked for.  A long one says all, the format included. */
static int find_layer(const struct byre_parameters *parameters, char **ret_name, const char **ret_format,
                      struct byre_error *err)
{
    struct byre_disk *disk;
    unsigned count;
    int r = open_named(parameters, false, true, &disk, err);

    if (r < 0)
        return r;
    count = byre_layer_count(disk);
    if (parameters->chain >= count) {
        r = byre_error_set(err, -EINVAL, "chain=%u: the chain of '%s' has only %u layer%s, from 0 on",
                           parameters->chain, byre_layer_name(disk, 0), count, count == 1 ? "" : "s");
    } else {
        const char *format = byre_layer_format(disk, parameters->chain);

        *ret_name = strdup(byre_layer_name(disk, parameters->chain));
        *ret_format = !*ret_name || strncmp(*ret_name, "json:", 5) == 0 ? NULL :
                      strcmp(format, "qcow2") == 0                      ? "qcow2" :
                      strcmp(format, "luks") == 0                       ? "luks" :
                                                                          "raw";
        if (!*ret_name)
            r = byre_error_set_errno(err, -ENOMEM, "could not note the name of a layer");
    }
    byre_close(disk, NULL); /* nothing was written */
    return r;
}

/* A layer below the image is opened by its name, as an image of its own. */
static int open_layer(const struct byre_parameters *parameters, struct byre_disk **ret_disk, struct byre_error *err)
{
    CLEANUP(free_ptr) char *name = NULL;
    struct byre_open_options open_options = {
        .cache = parameters->cache,
        .no_backing = parameters->no_backing,
        .protocol_backing = parameters->protocol_backing,
        .secrets = parameters->secrets,
        .snapshot =
            parameters->snapshot ? &(struct byre_snapshot_selector){ .any = parameters->snapshot } : NULL,
    };
    int r = find_layer(parameters, &name, &open_options.format, err);

    return r < 0 ? r : byre_open(name, &open_options, ret_disk, err);
}

static int open_image(const struct byre_parameters *parameters, bool writable, struct byre_disk **ret_disk,
                      struct byre_error *err)
{
    int r = parameters->chain ? open_layer(parameters, ret_disk, err)
                              : open_named(parameters, writable, false, ret_disk, err);

    if (r < 0 && strstr(err->text, BYRE_SNAPSHOT_FAILED))
        byre_error_prepend(err, "snapshot=%s: ", parameters->snapshot);
    return r;
}

/* Is `name` the same file taken from here and from the directory of the image at `path`? */
static bool is_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(free_ptr) char *beside = NULL;
    struct stat here, there;

    if (*path != '/' || asprintf(&beside, "%.*s%s", (int)(slash + 1 - path), path, name) < 0)
        return false;
    return stat(name, &here) == 0 && stat(beside, &there) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

/* nbdkit changes to the root directory: what is found from here may not be found from there. */
static int check_names(const struct byre_disk *disk, struct byre_error *err)
{
    for (unsigned i = 0; i < byre_layer_count(disk); i++) {
        const char *name = byre_layer_file_name(disk, i);

        if (*name != '/' && access(name, F_OK) == 0 && !is_beside(byre_layer_name(disk, i), name))
            return byre_error_set(err, -EINVAL,
                                  "'%s' is found from the working directory only, which nbdkit leaves: name it "
                                  "by an absolute path", name);
    }
    return 0;
}

int byre_image_check(const struct byre_parameters *parameters, struct byre_error *err)
{
    struct byre_disk *disk;
    int r = open_image(parameters, false, &disk, err);

    if (r < 0)
        return r;
    r = check_names(disk, err);
    byre_close(disk, NULL); /* nothing was written */
    return r;
}

/* The size of a cluster of the top layer. */
static int find_preferred(struct byre_disk *disk, uint32_t *ret_size, struct byre_error *err)
{
    const char *format = byre_layer_format(disk, 0);
    struct byre_info info;
    int r;

    *ret_size = PREFERRED_MIN;
    if (strcmp(format, "qcow2") != 0)
        return 0;
    r = byre_info_of_layer(disk, 0, &info, err);
    if (r < 0)
        return r;
    *ret_size = MAX(PREFERRED_MIN, info.cluster_size);
    byre_info_done(&info);
    return 0;
}

/* What the kernel says of the device that the file is, or is on.  What cannot be told does not turn. */
static bool find_rotational(const struct byre_disk *disk)
{
    static const char *const places[] = { "queue", "../queue" }; /* of a disk, of a partition */
    struct stat st;
    dev_t device;

    if (stat(byre_layer_file_name(disk, 0), &st) < 0)
        return false;
    device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        char path[128];
        FILE *file;
        int c;

        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/rotational", major(device), minor(device),
                 places[i]);
        file = fopen(path, "re");
        if (!file)
            continue;
        c = fgetc(file);
        fclose(file);
        return c == '1';
    }
    return false;
}

static int close_shared(struct byre_error *err)
{
    struct byre_image image = shared.image;

    shared.image = (struct byre_image){ 0 };
    return byre_close(image.disk, err);
}

static int open_shared(const struct byre_parameters *parameters, bool writable, struct byre_error *err)
{
    struct byre_image *image = &shared.image;
    int r = open_image(parameters, writable, &image->disk, err);

    if (r < 0)
        return r;
    image->writable = writable;
    image->rotational = find_rotational(image->disk);
    r = find_preferred(image->disk, &image->preferred, err);
    if (r < 0)
        close_shared(NULL); /* nothing was written */
    return r;
}

int byre_image_enter(const struct byre_parameters *parameters, bool writable, const struct byre_image **ret_image,
                     struct byre_error *err)
{
    LOCK_SCOPE(&shared.mutex);
    int r = 0;

    writable = writable && !byre_parameters_read_only(parameters);
    if (shared.image.disk && writable && !shared.image.writable) {
        if (shared.connections)
            return byre_error_set(err, -EBUSY, "'%s' is open for reading only, by other connections",
                                  byre_layer_name(shared.image.disk, 0));
        r = close_shared(err);
    }
    if (r == 0 && !shared.image.disk)
        r = open_shared(parameters, writable, err);
    if (r < 0)
        return r;
    shared.connections++;
    *ret_image = &shared.image;
    return 0;
}

void byre_image_leave(void)
{
    LOCK_SCOPE(&shared.mutex);

    shared.connections--;
}

int byre_image_close(struct byre_error *err)
{
    LOCK_SCOPE(&shared.mutex);

    return shared.image.disk ? close_shared(err) : 0;
}
