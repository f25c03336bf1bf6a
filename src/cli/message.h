/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the program says of itself and of mistakes: the name in front of every message, and the messages.
 */
#ifndef BYRE_CLI_MESSAGE_H
#define BYRE_CLI_MESSAGE_H

#include <stdbool.h>

#include "byre/error.h"

/* The version of QEMU's tools whose options, texts and exit codes are followed. */
#define BYRE_QEMU_VERSION "7.2.0"

/* Takes the program's name from argv[0]: a name that starts with "qemu-" is kept, any other is "byre". */
void byre_program_init(const char *argv0);
const char *byre_program_name(void);

/* Called under a qemu-* name: behaves as that program where byre's own defaults differ. */
bool byre_program_is_qemu(void);

/*
 * "NAME: TEXT" and a newline on standard error.  Returns 1, the usual exit code.
 *
 * What this and the others say is made safe for terminals (safe_text.h), for names in it may come from strangers; but
 * newlines stay.
 */
int byre_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* As byre_complain, followed by the line that points to --help. */
int byre_complain_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "NAME: ", the formatted text, what `err` says, and a newline.  Returns 1. */
int byre_complain_error(const struct byre_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* For a file that could not be opened: names it, unless the error's text begins with that already.  Returns 1. */
int byre_complain_open(const struct byre_error *err, const char *name);

/* Complains that memory is short and ends the program. */
void byre_die_no_memory(void) __attribute__((noreturn));

#endif
