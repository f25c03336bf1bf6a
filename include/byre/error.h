/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The error value that every fallible call of libbyre fills.
 *
 * A call that can fail returns 0 or a negative errno and takes a `struct byre_error *` as its last
 * argument.  The pointer may be NULL.  The value is plain data: it owns nothing, never allocates, can be
 * copied, and needs no clean-up.  It is written only when a call fails.  The place that detects a mistake
 * names the field and the value; callers prepend what they were doing; the command line prints it.
 */
#ifndef BYRE_ERROR_H
#define BYRE_ERROR_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BYRE_ERROR_TEXT_MAX 2048

struct byre_error {
    int code;                       /* negative errno, or 0 when nothing failed */
    char text[BYRE_ERROR_TEXT_MAX]; /* NUL-terminated; may hold a second line, a hint, after '\n' */
};

#define BYRE_ERROR_INIT { 0, "" }

/* Sets `err` (if not NULL) to `code`, a negative errno, and the formatted text.  Returns `code`. */
int byre_error_set(struct byre_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As byre_error_set, with ": " and the system's text for `code` appended.  Returns `code`. */
int byre_error_set_errno(struct byre_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts the formatted text in front of what `err` says.  A NULL `err` is allowed. */
void byre_error_prepend(struct byre_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends a newline and the formatted text: advice that stands on a line of its own. */
void byre_error_hint(struct byre_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
