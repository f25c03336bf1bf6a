/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program's name and its messages on standard error.  Owns the one piece of process-wide state of the
 * command line: under which name it was called, written once before anything else runs.
 */
#include "config.h"

#include "cli/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/progress.h"
#include "cli/safe_text.h"

static const char *program_name = "byre";

void byre_program_init(const char *argv0)
{
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    const char *base = slash ? slash + 1 : argv0;

    if (base && strncmp(base, "qemu-", 5) == 0)
        program_name = base;
}

const char *byre_program_name(void)
{
    return program_name;
}

bool byre_program_is_qemu(void)
{
    return strncmp(program_name, "qemu-", 5) == 0;
}

/* `more`, which may be NULL, comes behind.  Names in both may come from strangers. */
static void print(const char *fmt, va_list ap, const char *more)
{
    CLEANUP(free_ptr) char *text = NULL, *safe = NULL, *safe_more = more ? byre_safe_message(more) : NULL;

    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    if (text)
        safe = byre_safe_message(text);
    byre_progress_clear_line();
    fflush(stdout);
    /* where memory is short, what is said all the same is safe */
    fprintf(stderr, "%s: %s%s\n", program_name, safe ? safe : fmt, safe_more ? safe_more : more ? "..." : "");
}

int byre_complain(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print(fmt, ap, NULL);
    va_end(ap);
    return 1;
}

int byre_complain_usage(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print(fmt, ap, NULL);
    va_end(ap);
    fprintf(stderr, "Try '%s --help' for more information\n", program_name);
    return 1;
}

int byre_complain_error(const struct byre_error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print(fmt, ap, err->text);
    va_end(ap);
    return 1;
}

int byre_complain_open(const struct byre_error *err, const char *name)
{
    static const char opening[] = "Could not open '";
    size_t n = sizeof opening - 1;
    bool named = strncmp(err->text, opening, n) == 0 && strncmp(err->text + n, name, strlen(name)) == 0 &&
                 err->text[n + strlen(name)] == '\'';

    if (named)
        return byre_complain_error(err, "%s", "");
    return byre_complain_error(err, "Could not open '%s': ", name);
}

void byre_die_no_memory(void)
{
    fprintf(stderr, "%s: Cannot allocate memory\n", program_name);
    exit(1);
}
