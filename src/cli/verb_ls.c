/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre ls: what a file system inside an image holds.
 *
 *   L1. A directory that occurs twice below what was named, as in a damaged file system, is shown once.
 *   L2. What cannot be read is complained of, and the rest is shown.
 */
#include "config.h"

#include "cli/verbs.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/arguments.h"
#include "cli/files_in.h"
#include "cli/files_walk.h"
#include "cli/ls_print.h"
#include "cli/message.h"

enum { OPT_OUTPUT = BYRE_OPT_FILES_IN_END };

static const struct byre_option options[] = {
    BYRE_FILES_IN_OPTIONS,
    { 'l', "long", NULL, "type and permissions, links, owner, group, size and time of each file, too" },
    { 'R', "recursive", NULL, "also what is in directories in it" },
    { 'd', "directory", NULL, "directories themselves, not what is in them" },
    { '1', NULL, NULL, "one name a line, also on a terminal" },
    { OPT_OUTPUT, "output", "OFMT", "how to print: human (default) or json" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct ls {
    struct byre_files_in in;
    const char *output;
    bool details, recursive, directory, lines, json;
    bool headings;        /* above each directory's files */
    int exit_code;
    struct byre_ids seen; /* directories that were shown */
    struct byre_ls_printer printer;
};

static int read_options(struct byre_option_parser *parser, struct ls *ls)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        if (byre_files_in_option(&ls->in, id, parser->argument) < 0)
            return byre_options_stop(parser, 1);
        switch (id) {
        case 'l': ls->details = true; break;
        case 'R': ls->recursive = true; break;
        case 'd': ls->directory = true; break;
        case '1': ls->lines = true; break;
        case OPT_OUTPUT: ls->output = parser->argument; break;
        }
    }
    return id;
}

static void complain(struct ls *ls, const char *what, const char *path, const struct byre_error *err)
{
    ls->exit_code = byre_files_in_complain(&ls->in, what, path, err);
}

/* Takes both texts. */
static struct byre_ls_item make_item(struct ls *ls, uint64_t id, char *name, char *path)
{
    struct byre_ls_item item = { .name = name, .path = path, .id = id };
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_files_stat(ls->in.files, id, &item.file, &err) < 0) {
        complain(ls, "read", path, &err);
        return item;
    }
    item.known = true;
    if (S_ISLNK(item.file.mode) && (ls->details || ls->json) &&
        byre_files_readlink(ls->in.files, id, &item.target, &err) < 0)
        complain(ls, "read", path, &err);
    return item;
}

static void item_done(struct byre_ls_item *item)
{
    free(item->name);
    free(item->path);
    free(item->target);
}

static char *copy(const char *text)
{
    char *copied = strdup(text);

    if (!copied)
        byre_die_no_memory();
    return copied;
}

/* --- directories ------------------------------------------------------------------------------------------- */

/* Directories that are still to be shown, the next one last: a list instead of recursion. */
struct waiting {
    struct place {
        char *path;
        uint64_t id;
        unsigned depth;
    } *list;
    size_t count, room;
};

/* Takes the path. */
static void push(struct waiting *waiting, char *path, uint64_t id, unsigned depth)
{
    if (waiting->count == waiting->room) {
        waiting->room = waiting->room ? 2 * waiting->room : 64;
        waiting->list = reallocarray(waiting->list, waiting->room, sizeof *waiting->list);
        if (!waiting->list)
            byre_die_no_memory();
    }
    waiting->list[waiting->count++] = (struct place){ path, id, depth };
}

/* L1, and a bound on what it takes to hold the paths. */
static bool may_enter(struct ls *ls, const struct byre_ls_item *item, unsigned depth)
{
    struct byre_error err = BYRE_ERROR_INIT;
    void **seen = byre_ids_at(&ls->seen, item->id);

    if (!*seen && depth <= BYRE_WALK_DEPTH_MAX) {
        *seen = ls;
        return true;
    }
    if (*seen)
        byre_error_set(&err, -1, "the directory was met before, in another place");
    else
        byre_error_set(&err, -1, "there are more than %u directories within each other", BYRE_WALK_DEPTH_MAX);
    complain(ls, "go into", item->path, &err);
    return false;
}

/* Names that were read become items, are printed, and leave behind the directories among them. */
static void show_names(struct ls *ls, const struct place *place, const struct byre_names *names,
                       struct waiting *found)
{
    struct byre_ls_item *items = calloc(names->count + 1, sizeof *items);

    if (!items)
        byre_die_no_memory();
    for (size_t i = 0; i < names->count; i++) {
        char *path = byre_path_join(place->path, names->list[i].name);

        if (ls->details || ls->json || ls->recursive)
            items[i] = make_item(ls, names->list[i].id, copy(names->list[i].name), path);
        else
            items[i] = (struct byre_ls_item){ .name = copy(names->list[i].name), .path = path };
    }
    byre_ls_print(&ls->printer, items, names->count);
    for (size_t i = 0; i < names->count; i++) {
        if (ls->recursive && items[i].known && S_ISDIR(items[i].file.mode) &&
            may_enter(ls, &items[i], place->depth + 1))
            push(found, copy(items[i].path), items[i].id, place->depth + 1);
        item_done(&items[i]);
    }
    free(items);
}

/* One directory; those in it are waiting afterwards, the first one on top. */
static void show_directory(struct ls *ls, const struct place *place, struct waiting *waiting)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_names names = { .next = 0 };
    struct waiting found = { .count = 0 };
    int rc;

    if (ls->headings)
        byre_ls_print_heading(&ls->printer, place->path);
    do {
        rc = byre_names_read(&names, ls->in.files, place->id, names.next, &err);
        show_names(ls, place, &names, &found);
        if (rc < 0)
            complain(ls, "read", place->path, &err);
        byre_names_done(&names);
    } while (rc == 0 && names.more);
    while (found.count) {
        struct place *last = &found.list[--found.count];

        push(waiting, last->path, last->id, last->depth);
    }
    free(found.list);
}

/* Takes the path. */
static void show_tree(struct ls *ls, char *path, uint64_t id)
{
    struct waiting waiting = { .count = 0 };

    byre_ids_done(&ls->seen, NULL);
    *byre_ids_at(&ls->seen, id) = ls;
    push(&waiting, path, id, 0);
    while (waiting.count) {
        struct place place = waiting.list[--waiting.count];

        show_directory(ls, &place, &waiting);
        free(place.path);
    }
    free(waiting.list);
}

/* --- operands ---------------------------------------------------------------------------------------------- */

/* A link is followed where only names are shown, if it leads somewhere: as ls does. */
static int find(struct ls *ls, const char *path, uint64_t *ret_id)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!ls->details && !ls->json && !ls->directory &&
        byre_files_find(ls->in.files, path, BYRE_FILES_FOLLOW, ret_id, NULL) == 0)
        return 0;
    if (byre_files_find(ls->in.files, path, 0, ret_id, &err) == 0)
        return 0;
    complain(ls, "find", path, &err);
    return -1;
}

/* Files that were named come first, all together, then directories. */
static void show_operands(struct ls *ls, char **paths, size_t count)
{
    struct byre_ls_item *files = calloc(count, sizeof *files), *directories = calloc(count, sizeof *directories);
    size_t file_count = 0, directory_count = 0;
    uint64_t id;

    if (!files || !directories)
        byre_die_no_memory();
    for (size_t i = 0; i < count; i++) {
        struct byre_ls_item item;

        if (find(ls, paths[i], &id) < 0)
            continue;
        item = make_item(ls, id, copy(paths[i]), byre_path_join("/", paths[i] + strspn(paths[i], "/")));
        if (!ls->directory && item.known && S_ISDIR(item.file.mode))
            directories[directory_count++] = item;
        else
            files[file_count++] = item;
    }
    byre_ls_print(&ls->printer, files, file_count);
    ls->headings = ls->recursive || count > 1;
    for (size_t i = 0; i < directory_count; i++) {
        show_tree(ls, copy(directories[i].path), directories[i].id);
        item_done(&directories[i]);
    }
    for (size_t i = 0; i < file_count; i++)
        item_done(&files[i]);
    free(files);
    free(directories);
}

static int list(struct ls *ls, char **paths, int count)
{
    char *root[] = { (char[]){ "/" } };

    ls->printer.format = ls->json                                ? BYRE_LS_JSON
                         : ls->details                           ? BYRE_LS_LONG
                         : ls->lines || !isatty(STDOUT_FILENO) ? BYRE_LS_NAMES
                                                                 : BYRE_LS_COLUMNS;
    ls->exit_code = byre_files_in_open(&ls->in);
    if (ls->exit_code == 0) {
        show_operands(ls, count ? paths : root, count ? (size_t)count : 1);
        byre_ls_print_end(&ls->printer);
    }
    byre_ids_done(&ls->seen, NULL);
    return ls->exit_code;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct ls ls = { .exit_code = 0 };
    struct byre_option_parser parser;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &ls) < 0)
        exit_code = parser.exit_code;
    else if (parser.operand == argc)
        exit_code = byre_complain_usage("Expecting an image file name");
    else if (byre_argument_output(ls.output, &ls.json) < 0)
        exit_code = 1;
    else {
        ls.in.image = argv[parser.operand];
        exit_code = list(&ls, argv + parser.operand + 1, argc - parser.operand - 1);
    }
    byre_files_in_close(&ls.in);
    return exit_code;
}

const struct byre_verb byre_verb_ls = {
    .name = "ls",
    .operands = "IMAGE [PATH]...",
    .summary = "Lists the files in a file system inside an image.",
    .options = options,
    .run = run,
};
