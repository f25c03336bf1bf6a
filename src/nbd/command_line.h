/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-nbd's options, which are qemu-nbd's and more.
 */
#ifndef BYRE_NBD_COMMAND_LINE_H
#define BYRE_NBD_COMMAND_LINE_H

#include <stdbool.h>

#include "base/vec.h"
#include "byre/disk.h"
#include "byre/queue.h"
#include "cli/options.h"
#include "nbd/command_line_exports.h"
#include "nbd/command_line_tls.h"

typedef VEC(const char *) byre_nbd_words;

struct byre_nbd_command_line {
    const char *image;          /* the operand; with `disconnect`, a device */
    const char *bind, *port;    /* TCP */
    byre_nbd_words sockets;     /* UNIX sockets */
    byre_nbd_words vsocks;      /* [CID:]PORT */
    const char *selinux_label;  /* of sockets */
    const char *connect;        /* the kernel's device that is to be made */
    bool list, disconnect;      /* is done instead of serving */
    bool aio_given, native_aio, cache_given, discard_given, discard_ignored, unmap_zeroes, export_named;
    const char *export_name, *description, *pid_file;
    struct byre_open_options open;
    bool image_opts, read_only, allocation_depth, persistent, fork, verbose;
    unsigned clients_max, handshake_seconds;
    VEC(const char *) bitmaps;
    struct byre_nbd_tls_choice tls;
    struct byre_nbd_export_arguments exports;
    char node_options[64];      /* of --discard: for open.options */
};

extern const struct byre_verb byre_verb_serve;

/* The rest of the command line's memory. */
void byre_nbd_command_line_done(struct byre_nbd_command_line *line);

/* 0, or -1 when the program is to end with *ret_exit_code. */
int byre_nbd_command_line_read(int argc, char **argv, struct byre_nbd_command_line *ret_line, int *ret_exit_code);

#endif
