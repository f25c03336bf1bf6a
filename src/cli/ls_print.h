/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What byre ls knows of files, as names, as a long list, or in JSON.
 */
#ifndef BYRE_CLI_LS_PRINT_H
#define BYRE_CLI_LS_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "byre/files.h"

enum byre_ls_format { BYRE_LS_NAMES, BYRE_LS_COLUMNS, BYRE_LS_LONG, BYRE_LS_JSON };

struct byre_ls_item {
    char *name;   /* of it, or the operand */
    char *path;   /* from the root on; for JSON */
    uint64_t id;
    bool known;   /* `file` is filled in */
    struct byre_file file;
    char *target; /* of a symbolic link; or NULL */
};

struct byre_ls_printer {
    enum byre_ls_format format;
    bool begun; /* something was printed */
};

/* Several, which belong together: one directory's, or a part of them. */
void byre_ls_print(struct byre_ls_printer *printer, const struct byre_ls_item *items, size_t count);
/* The line above those of a directory; nothing in JSON. */
void byre_ls_print_heading(struct byre_ls_printer *printer, const char *path);
/* What stands at the end of all. */
void byre_ls_print_end(struct byre_ls_printer *printer);

#endif
