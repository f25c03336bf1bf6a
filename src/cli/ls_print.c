/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists of files.  Names are made safe to show in text, and are exact in JSON.
 */
#include "config.h"

#include "cli/ls_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/safe_text.h"

static const struct type {
    mode_t mode;
    char letter;
    const char *name;
} types[] = {
    { S_IFREG, '-', "file" },          { S_IFDIR, 'd', "directory" },         { S_IFLNK, 'l', "symlink" },
    { S_IFBLK, 'b', "block-device" },  { S_IFCHR, 'c', "character-device" },  { S_IFIFO, 'p', "fifo" },
    { S_IFSOCK, 's', "socket" },
};

static const struct type *type_of(mode_t mode)
{
    static const struct type unknown = { 0, '?', "unknown" };

    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        if ((mode & S_IFMT) == types[i].mode)
            return &types[i];
    }
    return &unknown;
}

/* --- names ------------------------------------------------------------------------------------------------- */

static void print_safe(const char *text)
{
    CLEANUP(free_ptr) char *safe = byre_safe_text(text, NULL);

    fputs(safe, stdout);
}

static void print_names(const struct byre_ls_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        print_safe(items[i].name);
        putchar('\n');
    }
}

static unsigned terminal_columns(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* Columns of one width, filled from top to bottom, two spaces between them. */
static void print_columns(const struct byre_ls_item *items, size_t count)
{
    CLEANUP(free_ptr) unsigned *widths = calloc(count + 1, sizeof *widths);
    unsigned widest = 0, columns;
    size_t rows;

    if (!widths)
        byre_die_no_memory();
    for (size_t i = 0; i < count; i++) {
        free(byre_safe_text(items[i].name, &widths[i]));
        widest = MAX(widest, widths[i]);
    }
    columns = MAX((terminal_columns() + 2) / (widest + 2), 1u);
    rows = byre_div_up(count, columns);
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = row; i < count; i += rows) {
            print_safe(items[i].name);
            if (i + rows < count)
                printf("%*s", (int)(widest - widths[i] + 2), "");
        }
        putchar('\n');
    }
}

/* --- long -------------------------------------------------------------------------------------------------- */

struct widths {
    int links, uid, gid, size;
};

static void print_mode(char text[11], mode_t mode)
{
    static const char letters[] = "rwxrwxrwx";
    static const struct {
        mode_t bit;
        unsigned at;
        char with, without; /* the right to execute */
    } special[] = { { S_ISUID, 3, 's', 'S' }, { S_ISGID, 6, 's', 'S' }, { S_ISVTX, 9, 't', 'T' } };

    text[0] = type_of(mode)->letter;
    for (unsigned i = 0; i < 9; i++)
        text[i + 1] = mode & (0400u >> i) ? letters[i] : '-';
    for (unsigned i = 0; i < ARRAY_LEN(special); i++) {
        if (mode & special[i].bit)
            text[special[i].at] = text[special[i].at] == 'x' ? special[i].with : special[i].without;
    }
    text[10] = '\0';
}

static void print_size(char text[32], const struct byre_file *file)
{
    if (S_ISBLK(file->mode) || S_ISCHR(file->mode))
        snprintf(text, 32, "%u,%u", file->major, file->minor);
    else
        snprintf(text, 32, "%" PRIu64, file->size);
}

/* ISO 8601, to the second or the nanosecond. */
static void print_time(char text[64], const struct timespec *time, bool nanoseconds)
{
    struct tm tm;
    size_t n;

    if (!gmtime_r(&time->tv_sec, &tm)) {
        snprintf(text, 64, "@%lld", (long long)time->tv_sec);
        return;
    }
    n = strftime(text, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    if (nanoseconds)
        n += (size_t)snprintf(text + n, 64 - n, ".%09ld", time->tv_nsec);
    snprintf(text + n, 64 - n, "Z");
}

static void widen(int *width, uint64_t number)
{
    *width = MAX(*width, snprintf(NULL, 0, "%" PRIu64, number));
}

static struct widths measure(const struct byre_ls_item *items, size_t count)
{
    struct widths widths = { 1, 1, 1, 1 };
    char size[32];

    for (size_t i = 0; i < count; i++) {
        const struct byre_file *file = &items[i].file;

        if (!items[i].known)
            continue;
        widen(&widths.links, file->links);
        widen(&widths.uid, file->uid);
        widen(&widths.gid, file->gid);
        print_size(size, file);
        widths.size = MAX(widths.size, (int)strlen(size));
    }
    return widths;
}

static void print_long(const struct byre_ls_item *items, size_t count)
{
    struct widths widths = measure(items, count);
    char mode[11], size[32], time[64];

    for (size_t i = 0; i < count; i++) {
        const struct byre_file *file = &items[i].file;

        if (items[i].known) {
            print_mode(mode, file->mode);
            print_size(size, file);
            print_time(time, &file->modified, false);
            printf("%s %*u %*u %*u %*s %s ", mode, widths.links, file->links, widths.uid, file->uid, widths.gid,
                   file->gid, widths.size, size, time);
        } else {
            printf("?????????? %*s %*s %*s %*s %-20s ", widths.links, "?", widths.uid, "?", widths.gid, "?",
                   widths.size, "?", "?");
        }
        print_safe(items[i].name);
        if (items[i].target) {
            printf(" -> ");
            print_safe(items[i].target);
        }
        putchar('\n');
    }
}

/* --- JSON -------------------------------------------------------------------------------------------------- */

/* Where the bytes are no text, they stand beside it in hexadecimal. */
static void add_bytes(json_t *object, const char *key, const char *bytes)
{
    CLEANUP(free_ptr) char *hex = NULL;
    char hex_key[32];

    byre_json_add_text(object, key, bytes);
    if (!bytes || byre_utf8_is_text(bytes, strlen(bytes)))
        return;
    hex = malloc(2 * strlen(bytes) + 1);
    if (!hex)
        byre_die_no_memory();
    for (size_t i = 0; bytes[i]; i++)
        sprintf(hex + 2 * i, "%02x", (unsigned char)bytes[i]);
    snprintf(hex_key, sizeof hex_key, "%s-hex", key);
    byre_json_add_text(object, hex_key, hex);
}

static void add_time(json_t *object, const char *key, const struct timespec *time)
{
    char text[64];

    if (!time->tv_sec && !time->tv_nsec)
        return;
    print_time(text, time, true);
    byre_json_add_text(object, key, text);
}

static void add_file(json_t *object, const struct byre_file *file)
{
    char permissions[8];

    snprintf(permissions, sizeof permissions, "%04o", (unsigned)file->mode & 07777);
    byre_json_add_text(object, "type", type_of(file->mode)->name);
    byre_json_add_text(object, "permissions", permissions);
    byre_json_add_number(object, "links", file->links);
    byre_json_add_number(object, "uid", file->uid);
    byre_json_add_number(object, "gid", file->gid);
    byre_json_add_number(object, "size", file->size);
    byre_json_add_number(object, "allocated", file->allocated);
    if (S_ISBLK(file->mode) || S_ISCHR(file->mode)) {
        byre_json_add_number(object, "major", file->major);
        byre_json_add_number(object, "minor", file->minor);
    }
    add_time(object, "accessed", &file->accessed);
    add_time(object, "modified", &file->modified);
    add_time(object, "changed", &file->changed);
    add_time(object, "created", &file->created);
}

static void print_json(struct byre_ls_printer *printer, const struct byre_ls_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_t *object = byre_json_object();

        add_bytes(object, "path", items[i].path);
        byre_json_add_number(object, "id", items[i].id);
        if (items[i].known)
            add_file(object, &items[i].file);
        add_bytes(object, "target", items[i].target);
        fputs(printer->begun ? ",\n" : "[\n", stdout);
        printer->begun = true;
        json_dumpf(object, stdout, 0); /* a failure to write is seen at the end */
        json_decref(object);
    }
}

/* --- all --------------------------------------------------------------------------------------------------- */

void byre_ls_print(struct byre_ls_printer *printer, const struct byre_ls_item *items, size_t count)
{
    switch (printer->format) {
    case BYRE_LS_NAMES: print_names(items, count); break;
    case BYRE_LS_COLUMNS: print_columns(items, count); break;
    case BYRE_LS_LONG: print_long(items, count); break;
    case BYRE_LS_JSON: print_json(printer, items, count); break;
    }
    printer->begun |= count > 0;
}

void byre_ls_print_heading(struct byre_ls_printer *printer, const char *path)
{
    if (printer->format == BYRE_LS_JSON)
        return;
    if (printer->begun)
        putchar('\n');
    print_safe(path);
    puts(":");
    printer->begun = true;
}

void byre_ls_print_end(struct byre_ls_printer *printer)
{
    if (printer->format == BYRE_LS_JSON)
        printf(printer->begun ? "\n]\n" : "[\n]\n");
}
