/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The part of byre-nbd's options that is about the process: where it listens, what it does instead of serving, and
 * which options go together.
 */
#ifndef BYRE_NBD_COMMAND_LINE_PROCESS_H
#define BYRE_NBD_COMMAND_LINE_PROCESS_H

#include "nbd/command_line.h"

enum {
    OPT_AIO = BYRE_OPTION_LONG + 100,
    OPT_SELINUX_LABEL,
    OPT_VSOCK,
};

/* Rows of the table. */
#define BYRE_NBD_OPTIONS_PROCESS                                                                            \
    { 'c', "connect", "DEV", "serve the image as the kernel's network block device DEV" },                  \
    { 'd', "disconnect", NULL, "end the network block device that is named instead of an image" },          \
    { 'L', "list", NULL, "list the exports of another server" },                                            \
    { 'T', "trace", "EVENTS", "name trace events, of which there are none" },                               \
    { 'V', "version", NULL, "print the version and exit" },                                                 \
    { OPT_AIO, "aio", "MODE", "threads, native or io_uring: has no effect" },                               \
    { OPT_SELINUX_LABEL, "selinux-label", "LABEL", "the SELinux label of the sockets" },                    \
    { OPT_VSOCK, "vsock", "[CID:]PORT", "listen at a vsock port; may be repeated" }

/* Takes one of them: 0; -1 after a complaint; 1: the program is to end well. */
int byre_nbd_command_line_process(int id, const char *text, struct byre_nbd_command_line *line);

/* Notes what may be given once only, and complains of the second time. */
int byre_nbd_command_line_once(bool *given, const char *text);

/* After the last option: -1 after a complaint of what does not go together.  `count`: of operands. */
int byre_nbd_command_line_check_process(struct byre_nbd_command_line *line, int count);
/* The same, of what does not go together with sockets that were handed over. */
int byre_nbd_command_line_check_activation(const struct byre_nbd_command_line *line);

#endif
