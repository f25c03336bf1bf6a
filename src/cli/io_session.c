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
#include "byre/info.h"
#include "cli/arguments.h"
#include "cli/io_command.h"
#include "cli/message.h"

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

static int cannot_open(const char *name, const char *why)
{
    byre_complain("can't open device %s: %s", name, why);
    return -1;
}

/* The library's errors begin with the name, which qemu-io says once. */
static int cannot_open_error(const char *name, const struct byre_error *err)
{
    CLEANUP(free_ptr) char *opening = NULL;
    const char *text = err->text;

    if (asprintf(&opening, "Could not open '%s': ", name) < 0)
        byre_die_no_memory();
    if (strncmp(text, opening, strlen(opening)) == 0 && strcmp(text + strlen(opening), strerror(-err->code)) != 0)
        text += strlen(opening);
    return cannot_open(name, text);
}

static int check_how(const char *name, const struct byre_io_open *how)
{
    if (how->format && !byre_argument_format_known(how->format)) {
        byre_complain("can't open device %s: Unknown driver '%s'", name, how->format);
        return -1;
    }
    if (how->native_aio && how->cache != BYRE_CACHE_NONE && how->cache != BYRE_CACHE_DIRECTSYNC)
        return cannot_open(name, "aio=native was specified, but it requires cache.direct=on, which was not"
                                 " specified.");
    return 0;
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

/* Makes the image that takes the writes of -s: its name, malloced, or NULL after a complaint. */
static char *make_overlay(const char *name, const struct byre_io_open *how)
{
    CLEANUP(free_ptr) char *backing = realpath(name, NULL);
    struct byre_create_options options = { .format = "qcow2", .backing_name = backing ? backing : name };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_info info;
    char *overlay = NULL;

    if (byre_info_read(name, how->format, how->force_share, &info, &err) < 0) {
        cannot_open_error(name, &err);
        return NULL;
    }
    options.size = info.virtual_size;
    options.backing_format = info.format;
    overlay = temporary_file();
    if (overlay && byre_create(overlay, &options, &err) < 0) {
        cannot_open_error(name, &err);
        unlink(overlay);
        free(STEAL(overlay));
    }
    byre_info_done(&info);
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
    struct byre_open_options options = {
        .format = session->overlay ? "qcow2" : how->format,
        .cache = how->cache,
        .writable = !how->read_only,
        .force_share = how->force_share && !session->overlay,
    };
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_open(session->overlay ? session->overlay : name, &options, &session->disk, &err) < 0)
        return cannot_open_error(name, &err);
    session->how = *how;
    return 0;
}

int byre_io_open_file(struct byre_io_session *session, const char *name, const struct byre_io_open *how)
{
    if (check_how(name, how) < 0)
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
    session->name = strdup(name);
    session->format = how->format ? strdup(how->format) : NULL;
    if (!session->name || (how->format && !session->format))
        byre_die_no_memory();
    session->how.format = session->format;
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

/* driver=NAME is the one option that a format has here. */
static int read_driver(const char *text, const char *name, struct byre_io_open *how)
{
    const char *value = strchr(text, '=');
    int length = value ? (int)(value - text) : (int)strlen(text);

    if (strncmp(text, "driver=", 7) == 0) {
        how->format = text + 7;
        return 0;
    }
    byre_complain("can't open device %s: Block format '%s' does not support the option '%.*s'", name,
                  how->format ? how->format : "qcow2", length, text);
    return -1;
}

BYRE_IO_RUN(byre_io_open)
{
    struct byre_io_open how = { 0 };
    const char *options = NULL;
    int letter, r = 0;

    while (r == 0 && (letter = getopt(argc, argv, "snro:ki:t:d:U")) != -1) {
        switch (letter) {
        case 's': how.snapshot = true; break;
        case 'n': how.cache = BYRE_CACHE_NONE; break;
        case 'r': how.read_only = true; break;
        case 'k': how.native_aio = true; break;
        case 'U': how.force_share = true; break;
        case 'o': options = optarg; break;
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
    if (r == 0 && optind != argc - 1)
        return byre_io_usage(command);
    if (r == 0 && options)
        r = read_driver(options, argv[optind], &how);
    return r < 0 ? -1 : byre_io_open_file(session, argv[optind], &how);
}

BYRE_IO_RUN(byre_io_close)
{
    (void)command;
    (void)argc;
    (void)argv;
    return byre_io_close_file(session);
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
    if (options) {
        byre_complain("Cannot change the option '%.*s'", (int)strcspn(options, "="), options);
        return -1;
    }
    return byre_io_reopen_file(session, &how);
}
