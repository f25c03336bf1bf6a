/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands of byre io share: the file that is open, and how it was opened.
 */
#ifndef BYRE_CLI_IO_SESSION_H
#define BYRE_CLI_IO_SESSION_H

#include <stdbool.h>

#include "byre/disk.h"
#include "cli/io_async.h"

/* How to open a file; strings are not owned. */
struct byre_io_open {
    const char *format; /* NULL: probe */
    const char *options; /* of the command open or reopen, or NULL */
    enum byre_cache cache;
    bool read_only, snapshot, force_share, native_aio, copy_on_read;
    bool image_opts;    /* the name is a list of options */
    bool protocol_backing;
    bool no_discard;    /* -d ignore: discards do nothing, zeros keep their space */
};

struct byre_io_session {
    struct byre_disk *disk; /* NULL: no file is open */
    struct byre_io_open how;
    char *name, *format, *options; /* of the file, owned */
    char *overlay;          /* the temporary image of -s, owned; or NULL */
    struct byre_io_async async;
    bool image_opts;        /* names are lists of options */
    bool protocol_backing;  /* see struct byre_open_options */
    bool misalign;          /* buffers start 16 bytes off */
    bool quit;
};

/* Each complains of what fails and returns 0 or -1.  The name may be NULL where there are options. */
int byre_io_open_file(struct byre_io_session *session, const char *name, const struct byre_io_open *how);
int byre_io_reopen_file(struct byre_io_session *session, const struct byre_io_open *how);
/* No effect when no file is open. */
int byre_io_close_file(struct byre_io_session *session);

/* Options that the program and its open command read in the same way: -t, -d, -i. */
int byre_io_read_cache(const char *text, struct byre_io_open *how);
int byre_io_read_discard(const char *text, struct byre_io_open *how);
int byre_io_read_aio(const char *text, struct byre_io_open *how);

#endif
