/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories of images.
 *
 *   Y1. A name is a file of the directory, seen when that was looked at; hidden ones, what is no regular file, and
 *       links that lead out of it are not.  It is looked at again before it is opened.
 *   Y2. Only the names are kept: an image costs nothing before somebody asks for it.
 */
#include "config.h"

#include "nbd/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

struct item {
    char *name;
    dev_t device;
    ino_t inode;
};

typedef VEC(struct item) items;

struct byre_nbd_directory {
    struct byre_nbd_source source; /* first */
    struct byre_nbd_keeper *keeper; /* whose source it is */
    char *path;                    /* absolute */
    int fd;
    struct byre_nbd_offer how;
    pthread_mutex_t mutex;
    items list;                    /* under it, in the order of their names */
};

static int by_name(const void *one, const void *other)
{
    return strcmp(((const struct item *)one)->name, ((const struct item *)other)->name);
}

static struct item *find_item(const items *list, const char *name)
{
    const struct item key = { .name = (char *)name };

    return list->len ? bsearch(&key, list->ptr, list->len, sizeof key, by_name) : NULL;
}

static void items_done(items *list)
{
    for (size_t i = 0; i < list->len; i++)
        free(list->ptr[i].name);
    vec_done(list);
}

/* Is it a regular file, without leaving the directory (Y1)?  Where the kernel cannot tell, links are none. */
static bool look_at(int directory, const char *name, struct stat *ret_status)
{
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    CLEANUP(close_fd) int fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof how);

    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && fstat(fd, ret_status) == 0 && S_ISREG(ret_status->st_mode);
}

static int add_file(int directory, const char *name, items *list)
{
    struct item item = { .name = NULL };
    struct stat status;

    if (*name == '.' || !look_at(directory, name, &status))
        return 0;
    item = (struct item){ strdup(name), status.st_dev, status.st_ino };
    if (item.name && vec_push(list, item) == 0)
        return 0;
    free(item.name);
    return -ENOMEM;
}

static int scan(const struct byre_nbd_directory *directory, items *list, struct byre_error *err)
{
    int fd = openat(directory->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int rc = 0;

    if (!stream) {
        rc = byre_error_set_errno(err, -errno, "Could not open directory '%s'", directory->path);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == 0 && (errno = 0, entry = readdir(stream)))
        rc = add_file(directory->fd, entry->d_name, list);
    if (rc == 0)
        rc = -errno;
    closedir(stream);
    if (rc < 0)
        return byre_error_set_errno(err, rc, "Could not read directory '%s'", directory->path);
    if (list->len)
        qsort(list->ptr, list->len, sizeof *list->ptr, by_name);
    return 0;
}

/* --- opening ----------------------------------------------------------------------------------------------- */

static bool has_item(struct byre_nbd_directory *directory, const char *name)
{
    LOCK_SCOPE(&directory->mutex);
    return find_item(&directory->list, name);
}

static int not_there(const char *name, struct byre_error *err)
{
    return byre_error_set(err, -ENOENT, "There is no export '%s'", name);
}

static int open_file(struct byre_nbd_directory *directory, const char *name, struct byre_nbd_export **ret_export,
                     struct byre_error *err)
{
    CLEANUP(free_ptr) char *path = NULL;
    struct byre_nbd_offer offer = directory->how;
    struct stat status;

    if (!look_at(directory->fd, name, &status))
        return not_there(name, err);
    if (asprintf(&path, "%s/%s", directory->path, name) < 0) {
        path = NULL;
        return byre_error_set_errno(err, -ENOMEM, "exports");
    }
    offer.file = path;
    return byre_nbd_offer_open(&offer, name, ret_export, err);
}

/* The first name of the file that has this one: two exports of a file are one disk.  NULL: this is the first. */
static char *other_name(struct byre_nbd_directory *directory, const char *name)
{
    const struct item *item, *first;

    LOCK_SCOPE(&directory->mutex);
    item = find_item(&directory->list, name);
    for (first = directory->list.ptr; item && first < item; first++) {
        if (first->device == item->device && first->inode == item->inode)
            return strdup(first->name);
    }
    return NULL;
}

static int open_item(struct byre_nbd_directory *directory, const char *name, struct byre_nbd_export **ret_export,
                     struct byre_error *err)
{
    CLEANUP(free_ptr) char *other = other_name(directory, name);
    struct byre_nbd_export *base;
    int rc;

    if (!other)
        return open_file(directory, name, ret_export, err);
    rc = byre_nbd_keeper_get(directory->keeper, other, &base, err);
    if (rc < 0)
        return rc;
    rc = byre_nbd_offer_whole(&directory->how, name, base, ret_export, err);
    (void)byre_nbd_export_unref(base, NULL); /* the export has it */
    return rc;
}

static int open_snapshot(struct byre_nbd_directory *directory, const char *file, const char *snapshot,
                         const char *name, struct byre_nbd_export **ret_export, struct byre_error *err)
{
    struct byre_nbd_offer how = directory->how;
    struct byre_nbd_export *base;
    int rc = byre_nbd_keeper_get(directory->keeper, file, &base, err);

    if (rc < 0)
        return rc;
    how.has_snapshot = true;
    how.snapshot = (struct byre_snapshot_selector){ .any = snapshot };
    rc = byre_nbd_offer_snapshot(&how, name, base, ret_export, err);
    (void)byre_nbd_export_unref(base, NULL); /* the export has it */
    return rc;
}

/* "#N" at the end of a name; 0: there is none. */
static unsigned partition_of(const char *name, const char **ret_mark)
{
    const char *mark = strrchr(name, '#');
    size_t digits = mark ? strspn(mark + 1, "0123456789") : 0;

    if (!digits || digits > 6 || mark[1] == '0' || mark[1 + digits])
        return 0;
    *ret_mark = mark;
    return (unsigned)strtoul(mark + 1, NULL, 10);
}

/* A partition has no partitions. */
static int open_partition(struct byre_nbd_directory *directory, const char *whole, unsigned number, const char *name,
                          struct byre_nbd_export **ret_export, struct byre_error *err)
{
    struct byre_nbd_offer how = directory->how;
    struct byre_nbd_export *base;
    const char *mark;
    int rc;

    if (!has_item(directory, whole) && partition_of(whole, &mark))
        return not_there(name, err);
    rc = byre_nbd_keeper_get(directory->keeper, whole, &base, err);
    if (rc < 0)
        return rc;
    how.open.writable = !(base->flags & NBD_FLAG_READ_ONLY);
    rc = byre_nbd_offer_partition(&how, name, base, number, ret_export, err);
    (void)byre_nbd_export_unref(base, NULL); /* the export has it */
    return rc;
}

/* The longest file name before an '@'; NULL: there is none. */
static char *file_of_snapshot(struct byre_nbd_directory *directory, const char *name)
{
    char *file = strdup(name), *mark;

    while (file && (mark = strrchr(file, '@'))) {
        *mark = '\0';
        if (has_item(directory, file))
            return file;
    }
    free(file);
    return NULL;
}

static int open_name(struct byre_nbd_source *source, struct byre_nbd_keeper *keeper, const char *name,
                     struct byre_nbd_export **ret_export, struct byre_error *err)
{
    struct byre_nbd_directory *directory = (struct byre_nbd_directory *)source;
    CLEANUP(free_ptr) char *file = NULL;
    const char *mark = NULL;
    unsigned partition;

    (void)keeper;
    if (has_item(directory, name))
        return open_item(directory, name, ret_export, err);
    partition = partition_of(name, &mark);
    if (partition) {
        file = strndup(name, (size_t)(mark - name));
        return file ? open_partition(directory, file, partition, name, ret_export, err)
                    : byre_error_set_errno(err, -ENOMEM, "exports");
    }
    file = file_of_snapshot(directory, name);
    if (!file || !name[strlen(file) + 1])
        return not_there(name, err);
    return open_snapshot(directory, file, name + strlen(file) + 1, name, ret_export, err);
}

/* --- the source -------------------------------------------------------------------------------------------- */

static int each_item(struct byre_nbd_source *source,
                     int (*each)(void *opaque, const char *name, const char *description), void *opaque)
{
    struct byre_nbd_directory *directory = (struct byre_nbd_directory *)source;
    int rc = 0;

    LOCK_SCOPE(&directory->mutex);
    for (size_t i = 0; i < directory->list.len && rc == 0; i++)
        rc = each(opaque, directory->list.ptr[i].name, NULL);
    return rc;
}

static void free_directory(struct byre_nbd_source *source)
{
    struct byre_nbd_directory *directory = (struct byre_nbd_directory *)source;

    items_done(&directory->list);
    pthread_mutex_destroy(&directory->mutex);
    if (directory->fd >= 0)
        close(directory->fd);
    free(directory->path);
    free(directory);
}

int byre_nbd_directory_add(const char *path, const struct byre_nbd_offer *how, struct byre_nbd_exports *exports,
                           struct byre_nbd_directory **ret_directory, struct byre_error *err)
{
    struct byre_nbd_directory *directory = calloc(1, sizeof *directory);
    int rc;

    if (!directory)
        return byre_error_set_errno(err, -ENOMEM, "exports");
    directory->source = (struct byre_nbd_source){ each_item, open_name, free_directory };
    directory->how = *how;
    pthread_mutex_init(&directory->mutex, NULL);
    directory->path = realpath(path, NULL);
    directory->fd = directory->path ? open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (directory->fd < 0)
        rc = byre_error_set_errno(err, -errno, "Could not open directory '%s'", path);
    else
        rc = scan(directory, &directory->list, err);
    if (rc < 0) {
        free_directory(&directory->source);
        return rc;
    }
    rc = byre_nbd_keeper_new(&directory->source, &exports->keeper, err);
    if (rc == 0) {
        directory->keeper = exports->keeper;
        *ret_directory = directory;
    }
    return rc;
}

struct rescan {
    const items *before, *now;
};

/* Is one of the names below an export another file now, or none? */
static bool is_stale(void *opaque, const struct byre_nbd_export *export)
{
    const struct rescan *rescan = opaque;

    for (; export; export = export->base) {
        const struct item *before = find_item(rescan->before, export->name);
        const struct item *now = find_item(rescan->now, export->name);

        if (before && (!now || before->device != now->device || before->inode != now->inode))
            return true;
    }
    return false;
}

int byre_nbd_directory_rescan(struct byre_nbd_directory *directory, struct byre_error *err)
{
    items list = VEC_INIT, before;
    int rc = scan(directory, &list, err);

    if (rc < 0) {
        items_done(&list);
        return rc;
    }
    pthread_mutex_lock(&directory->mutex);
    before = directory->list;
    directory->list = list;
    pthread_mutex_unlock(&directory->mutex);
    byre_nbd_keeper_forget(directory->keeper, is_stale, &(struct rescan){ &before, &list });
    items_done(&before);
    return 0;
}
