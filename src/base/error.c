/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The error value: formatting into a fixed buffer.
 *
 * Every text is formatted aside before it is stored, so an argument may point into the very error that is
 * being written.  What does not fit is cut at the end; the text is always terminated.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "byre/error.h"

/* Stores the `length` bytes of `text` at `pos`, cutting what does not fit; returns the new end. */
static size_t put(struct byre_error *err, size_t pos, const char *text, size_t length)
{
    size_t room = sizeof err->text - 1 - pos;
    size_t n = MIN(length, room);

    memcpy(err->text + pos, text, n);
    err->text[pos + n] = '\0';
    return pos + n;
}

int byre_error_set(struct byre_error *err, int code, const char *fmt, ...)
{
    char text[BYRE_ERROR_TEXT_MAX];
    va_list ap;

    if (!err)
        return code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err->code = code;
    put(err, 0, text, strlen(text));
    return code;
}

int byre_error_set_errno(struct byre_error *err, int code, const char *fmt, ...)
{
    char text[BYRE_ERROR_TEXT_MAX], reason_buf[128];
    const char *reason;
    va_list ap;
    size_t pos;

    if (!err)
        return code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    reason = strerror_r(-code, reason_buf, sizeof reason_buf);
    err->code = code;
    pos = put(err, 0, text, strlen(text));
    pos = put(err, pos, ": ", 2);
    put(err, pos, reason, strlen(reason));
    return code;
}

void byre_error_prepend(struct byre_error *err, const char *fmt, ...)
{
    char head[BYRE_ERROR_TEXT_MAX], tail[BYRE_ERROR_TEXT_MAX];
    va_list ap;
    size_t pos;

    if (!err)
        return;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    memcpy(tail, err->text, sizeof tail);
    pos = put(err, 0, head, strlen(head));
    put(err, pos, tail, strlen(tail));
}

void byre_error_hint(struct byre_error *err, const char *fmt, ...)
{
    char hint[BYRE_ERROR_TEXT_MAX];
    va_list ap;
    size_t pos;

    if (!err)
        return;
    va_start(ap, fmt);
    vsnprintf(hint, sizeof hint, fmt, ap);
    va_end(ap);
    pos = put(err, strlen(err->text), "\n", 1);
    put(err, pos, hint, strlen(hint));
}
