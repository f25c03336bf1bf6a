/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening, closing and reopening files in byre io: the calls, and the commands.
 */
#include "config.h"

#include "cli/io_session.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/create.h"
#include "byre/debug.h"
#include "cli/arguments.h"
#include "cli/io_command.h"
#include "cli/message.h"
#include "cli/objects.h"

/* --- options --- */

int byre_io_read_cache(const char *text, struct byre_io_open *how)
{
    return byre_argument_cache("cache", text, &how->cache);
}

int byre_io_read_discard(const char *text, struct byre_io_open *how)
{
    bool ignore = strcmp(text, "ignore") == 0 || strcmp(text, "off") == 0;

    if (!ignore && strcmp(text, "unmap") != 0 && strcmp(text, "on") != 0) {
        byre_complain("Invalid discard option: %s", text);
        return -1;
    }
    how->no_discard = ignore;
    return 0;
}

int byre_io_read_aio(const char *text, struct byre_io_open *how)
{
    how->native_aio = strcmp(text, "native") == 0;
    if (!how->native_aio && strcmp(text, "threads") != 0 && strcmp(text, "io_uring") != 0) {
        byre_complain("Invalid aio option: %s", text);
        return -1;
    }
    return 0;
}

/* --- opening --- */

static void tell_break(void *opaque, const char *tag, bool suspended)
{
    (void)opaque;
    printf(suspended ? "blkdebug: Suspended request '%s'\n" : "blkdebug: Resuming request '%s'\n", tag);
}

/* `name` is NULL where it is no name, but options. */
static int cannot_open(const char *name, const char *why)
{
    byre_complain("can't open%s%s: %s", name ? " device " : "", name ? name : "", why);
    return -1;
}

/* The library's errors begin with the name, which qemu-io says once. */
static int cannot_open_error(const char *name, const struct byre_io_open *how, const struct byre_error *err)
{
    CLEANUP(free_ptr) char *opening = NULL;
    const char *text = err->text;

    if (asprintf(&opening, "Could not open '%s': ", name ? name : "") < 0)
        byre_die_no_memory();
    if (strncmp(text, opening, strlen(opening)) == 0 && strcmp(text + strlen(opening), strerror(-err->code)) != 0)
        text += strlen(opening);
    return cannot_open(how->image_opts ? NULL : name, text);
}

static int check_how(const char *name, const struct byre_io_open *how)
{
    if (how->format && !byre_argument_format_known(how->format)) {
        byre_complain("can't open device %s: Unknown driver '%s'", name, how->format);
        return -1;
    }
    if (how->copy_on_read && how->read_only)
        return cannot_open(name, "Can't use copy-on-read on read-only device");
    if (how->native_aio && how->cache != BYRE_CACHE_NONE && how->cache != BYRE_CACHE_DIRECTSYNC)
        return cannot_open(name, "aio=native was specified, but it requires cache.direct=on, which was not"
                                 " specified.");
    return 0;
}

static struct byre_open_options options_of(const struct byre_io_open *how, bool writable)
{
    return (struct byre_open_options){
        .format = how->format,
        .cache = how->cache,
        .writable = writable,
        .force_share = how->force_share,
        .copy_on_read = how->copy_on_read && writable,
        .protocol_backing = how->protocol_backing,
        .options = how->options,
        .secrets = byre_objects_secrets(),
    };
}

/* The file, or with `overlay` that one over it. */
static int open_name(const char *name, const struct byre_io_open *how, bool writable, const char *overlay,
                     struct byre_disk **ret_disk)
{
    struct byre_open_options options = options_of(how, writable);
    struct byre_error err = BYRE_ERROR_INIT;
    CLEANUP(free_ptr) char *full = NULL;

    if (byre_argument_image(name ? name : "", how->image_opts || !name, NULL, &full) < 0)
        return -1;
    if (overlay) {
        options.backing = full;
        options.backing_format = how->format;
        options.backing_options = how->options;
        options.format = "qcow2";
        options.options = NULL;
        options.force_share = false;
    }
    return byre_open(overlay ? overlay : full, &options, ret_disk, &err) < 0 ? cannot_open_error(name, how, &err) : 0;
}

/* An empty file of its own for an overlay: malloced. */
static char *temporary_file(void)
{
    const char *base = getenv("TMPDIR");
    char *name;
    int fd;

    if (asprintf(&name, "%s/byre-io-XXXXXX", base && *base ? base : "/var/tmp") < 0)
        byre_die_no_memory();
    fd = mkstemp(name);
    if (fd >= 0) {
        close(fd);
        return name;
    }
    byre_complain("could not make a temporary file in '%s': %s", base && *base ? base : "/var/tmp",
                  strerror(errno));
    free(name);
    return NULL;
}

/* Makes the image that takes the writes of -s: its name, malloced, or NULL after a complaint.  It records nothing of
 * what it stands on: that is said when it is opened, in the words of the user. */
static char *make_overlay(const char *name, const struct byre_io_open *how)
{
    struct byre_create_options options = { .format = "qcow2" };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *base;
    char *overlay;

    if (open_name(name, how, false, NULL, &base) < 0)
        return NULL;
    options.size = byre_get_size(base);
    byre_close(base, NULL); /* nothing was written */
    overlay = temporary_file();
    if (overlay && byre_create(overlay, &options, &err) < 0) {
        cannot_open_error(name, how, &err);
        unlink(overlay);
        free(STEAL(overlay));
    }
    return overlay;
}

static void drop_overlay(struct byre_io_session *session)
{
    if (session->overlay)
        unlink(session->overlay);
    free(STEAL(session->overlay));
}

static int open_disk(struct byre_io_session *session, const char *name, const struct byre_io_open *how)
{
    if (open_name(name, how, !how->read_only, session->overlay, &session->disk) < 0)
        return -1;
    (void)byre_debug_set_watch(session->disk, tell_break, NULL); /* where there are breakpoints */
    session->how = *how;
    return 0;
}

/* A copy that is owned; NULL for NULL. */
static char *copy_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        byre_die_no_memory();
    return copy;
}

int byre_io_open_file(struct byre_io_session *session, const char *name, const struct byre_io_open *how)
{
    if (check_how(how->image_opts ? NULL : name, how) < 0)
        return -1;
    if (how->snapshot) {
        session->overlay = make_overlay(name, how);
        if (!session->overlay)
            return -1;
    }
    if (open_disk(session, name, how) < 0) {
        drop_overlay(session);
        return -1;
    }
    session->name = copy_text(name);
    session->how.format = session->format = copy_text(how->format);
    session->how.options = session->options = copy_text(how->options);
    return 0;
}

/* Closes the disk, all else stays. */
static int close_disk(struct byre_io_session *session)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!session->disk)
        return 0;
    byre_io_async_reap(&session->async, true);
    if (byre_close(STEAL(session->disk), &err) == 0)
        return 0;
    byre_complain_error(&err, "%s", "");
    return -1;
}

int byre_io_close_file(struct byre_io_session *session)
{
    int r = close_disk(session);

    drop_overlay(session);
    free(STEAL(session->name));
    free(STEAL(session->format));
    free(STEAL(session->options));
    return r;
}

int byre_io_reopen_file(struct byre_io_session *session, const struct byre_io_open *how)
{
    struct byre_io_open before = session->how;
    int r = close_disk(session);

    if (r == 0)
        r = open_disk(session, session->name, how);
    /* As it was, if that can still be. */
    if (!session->disk && open_disk(session, session->name, &before) < 0)
        (void)byre_io_close_file(session);
    return r;
}

/* --- commands --- */

BYRE_IO_RUN(byre_io_open)
{
    struct byre_io_open how = { .image_opts = session->image_opts, .protocol_backing = session->protocol_backing };
    const char *name;
    int letter, r = 0;

    while (r == 0 && (letter = getopt(argc, argv, "snCro:ki:t:d:U")) != -1) {
        switch (letter) {
        case 's': how.snapshot = true; break;
        case 'n': how.cache = BYRE_CACHE_NONE; break;
        case 'C': how.copy_on_read = true; break;
        case 'r': how.read_only = true; break;
        case 'k': how.native_aio = true; break;
        case 'U': how.force_share = true; break;
        case 'o': how.options = optarg; break;
        case 'i': r = byre_io_read_aio(optarg, &how); break;
        case 't': r = byre_io_read_cache(optarg, &how); break;
        case 'd': r = byre_io_read_discard(optarg, &how); break;
        default: return byre_io_usage(command);
        }
    }
    if (r == 0 && session->disk) {
        byre_complain("file open already, try 'help close'");
        return -1;
    }
    if (r < 0)
        return -1;
    if (how.options && how.image_opts) {
        printf("--image-opts and 'open -o' are mutually exclusive\n");
        return -1;
    }
    name = optind == argc - 1 ? argv[optind] : NULL;
    if (!name && (optind != argc || !how.options))
        return byre_io_usage(command);
    return byre_io_open_file(session, name, &how);
}

BYRE_IO_RUN(byre_io_close)
{
    (void)command;
    (void)argc;
    (void)argv;
    return byre_io_close_file(session);
}

/* Is the key that `item` begins with one that may be another when a file is opened again? */
static bool may_change(const char *item)
{
    static const char *const keys[] = {
        "auto-read-only", "cache.direct", "cache.no-flush", "cache-clean-interval", "cache-size", "detect-zeroes",
        "discard", "force-share", "l2-cache-entry-size", "l2-cache-size", "lazy-refcounts", "overlap-check",
        "pass-discard-other", "pass-discard-request", "pass-discard-snapshot", "read-only", "refcount-cache-size",
    };
    size_t length = strcspn(item, "=,");

    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        if (strlen(keys[i]) == length && strncmp(item, keys[i], length) == 0)
            return true;
    return false;
}

/* Reopens with more options than before. */
static int reopen_with(struct byre_io_session *session, struct byre_io_open *how, const char *options)
{
    CLEANUP(free_ptr) char *all = NULL;
    int r;

    for (const char *item = options; *item; item += strcspn(item, ","), item += *item == ',') {
        if (!may_change(item)) {
            byre_complain("Cannot change the option '%.*s'", (int)strcspn(item, "=,"), item);
            return -1;
        }
    }
    if (asprintf(&all, "%s%s%s", how->options ? how->options : "", how->options ? "," : "", options) < 0)
        byre_die_no_memory();
    how->options = all;
    r = byre_io_reopen_file(session, how);
    if (r == 0) {
        free(session->options);
        session->how.options = session->options = STEAL(all);
    }
    return r;
}

BYRE_IO_RUN(byre_io_reopen)
{
    struct byre_io_open how = session->how;
    const char *options = NULL;
    bool chosen = false;
    int letter;

    while ((letter = getopt(argc, argv, "c:o:rw")) != -1) {
        switch (letter) {
        case 'c':
            if (byre_io_read_cache(optarg, &how) < 0)
                return -1;
            break;
        case 'o': options = optarg; break;
        case 'r':
        case 'w':
            if (chosen) {
                byre_complain("Only one -r/-w option may be given");
                return -1;
            }
            chosen = true;
            how.read_only = letter == 'r';
            break;
        default: return byre_io_usage(command);
        }
    }
    if (optind != argc)
        return byre_io_usage(command);
    return options ? reopen_with(session, &how, options) : byre_io_reopen_file(session, &how);
}
