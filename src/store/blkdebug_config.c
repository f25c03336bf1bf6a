/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rules from text: fields by name, and config files.
 *
 * A file has lines of three kinds, white space around their parts not counting: comments from '#' on, the start of a
 * rule ([inject-error] or [set-state], with an optional name in quotes as in [inject-error "first"]), and a field of
 * that rule (once = "on").
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "store/blkdebug.h"

enum { FILE_MAX = 1 << 20, ERRNO_MAX = 4095, SECTOR = 512 };

#define IOTYPES_DEFAULT \
    (BYRE_IOTYPE_READ | BYRE_IOTYPE_WRITE | BYRE_IOTYPE_WRITE_ZEROES | BYRE_IOTYPE_DISCARD | BYRE_IOTYPE_FLUSH)

static const char *const iotype_names[] = { "read", "write", "write-zeroes", "discard", "flush", "block-status" };

struct byre_inject_error byre_inject_error_init(void)
{
    return (struct byre_inject_error){
        .event = BYRE_BLKDEBUG_NO_EVENT, .iotypes = IOTYPES_DEFAULT, .code = -EIO, .sector = -1,
    };
}

struct byre_set_state byre_set_state_init(void)
{
    return (struct byre_set_state){ .event = BYRE_BLKDEBUG_NO_EVENT };
}

/* --- fields --------------------------------------------------------------------------------------------- */

static int parse_number(const char *field, const char *value, int64_t min, int64_t max, int64_t *ret_number,
                        struct byre_error *err)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(value, &end, 0);
    if (!*value || isspace((unsigned char)*value) || *end)
        return byre_error_set(err, -EINVAL, "Parameter '%s' expects a number, not '%s'", field, value);
    if (errno == ERANGE || number < min || number > max)
        return byre_error_set(err, -EINVAL, "Parameter '%s' is %s: it must be between %" PRId64 " and %" PRId64,
                              field, value, min, max);
    *ret_number = number;
    return 0;
}

static int parse_int(const char *field, const char *value, int min, int max, int *ret_number, struct byre_error *err)
{
    int64_t number = 0;
    int rc = parse_number(field, value, min, max, &number, err);

    if (rc == 0)
        *ret_number = (int)number;
    return rc;
}

static int parse_bool(const char *field, const char *value, bool *ret_bool, struct byre_error *err)
{
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
        return byre_error_set(err, -EINVAL, "Parameter '%s' expects 'on' or 'off', not '%s'", field, value);
    *ret_bool = strcmp(value, "on") == 0;
    return 0;
}

static int parse_event(const char *value, enum byre_event *ret_event, struct byre_error *err)
{
    int event = byre_event_find(value);

    if (event < 0)
        return byre_error_set(err, -EINVAL, "Parameter 'event': there is no event '%s'", value);
    *ret_event = (enum byre_event)event;
    return 0;
}

static int parse_iotype(const char *value, unsigned *ret_iotypes, struct byre_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(iotype_names); i++) {
        if (strcmp(iotype_names[i], value) == 0) {
            *ret_iotypes = 1u << i;
            return 0;
        }
    }
    return byre_error_set(err, -EINVAL, "Parameter 'iotype': there is no kind of I/O '%s'", value);
}

static int no_field(const char *field, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "Invalid parameter '%s'", field);
}

int byre_inject_error_set(struct byre_inject_error *rule, const char *field, const char *value,
                          struct byre_error *err)
{
    int rc, number = -rule->code;

    if (strcmp(field, "event") == 0)
        return parse_event(value, &rule->event, err);
    if (strcmp(field, "state") == 0)
        return parse_int(field, value, 0, INT_MAX, &rule->state, err);
    if (strcmp(field, "iotype") == 0)
        return parse_iotype(value, &rule->iotypes, err);
    if (strcmp(field, "sector") == 0)
        return parse_number(field, value, -1, INT64_MAX / SECTOR, &rule->sector, err);
    if (strcmp(field, "once") == 0)
        return parse_bool(field, value, &rule->once, err);
    if (strcmp(field, "immediately") == 0)
        return parse_bool(field, value, &rule->immediately, err);
    if (strcmp(field, "errno") != 0)
        return no_field(field, err);
    rc = parse_int(field, value, 0, ERRNO_MAX, &number, err);
    rule->code = -number;
    return rc;
}

int byre_set_state_set(struct byre_set_state *rule, const char *field, const char *value, struct byre_error *err)
{
    if (strcmp(field, "event") == 0)
        return parse_event(value, &rule->event, err);
    if (strcmp(field, "state") == 0)
        return parse_int(field, value, 0, INT_MAX, &rule->state, err);
    if (strcmp(field, "new_state") == 0)
        return parse_int(field, value, 1, INT_MAX, &rule->new_state, err);
    return no_field(field, err);
}

/* --- files ---------------------------------------------------------------------------------------------- */

/* What the lines so far have led to. */
struct reader {
    struct byre_blkdebug_options *options;
    struct byre_inject_error *inject; /* the rule whose fields are read: one of the two, or none */
    struct byre_set_state *state;
    unsigned started;                 /* the line where it began */
};

static char *skip_space(char *at)
{
    return at + strspn(at, " \t\r");
}

/* Nothing but a comment? */
static bool at_end(char *at)
{
    at = skip_space(at);
    return !*at || *at == '#';
}

/* A text in quotes at `at`, which is ended there; *ret_rest is what follows it.  NULL if there is none. */
static char *take_quoted(char *at, char **ret_rest)
{
    char *end = *at == '"' ? strchr(at + 1, '"') : NULL;

    if (!end)
        return NULL;
    *end = '\0';
    *ret_rest = end + 1;
    return at + 1;
}

static int bad_line(const char *why, const char *line, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "%s: '%s'", why, line);
}

/* The rule that has been read must have what rules need. */
static int finish_rule(struct reader *reader, struct byre_error *err)
{
    enum byre_event event = BYRE_EVENT_NONE;
    int rc = 0;

    if (reader->inject)
        event = reader->inject->event;
    else if (reader->state)
        event = reader->state->event;
    if (event == BYRE_BLKDEBUG_NO_EVENT)
        rc = byre_error_set(err, -EINVAL, "Missing event name for rule");
    else if (reader->state && !reader->state->new_state)
        rc = byre_error_set(err, -EINVAL, "Missing new_state for rule of event '%s'", byre_event_name(event));
    if (rc < 0)
        byre_error_prepend(err, "rule of line %u: ", reader->started);
    return rc;
}

/* "[name]" or "[name "id"]": begins a rule. */
static int begin_rule(struct reader *reader, char *line, struct byre_error *err)
{
    char *name = skip_space(line + 1), *end = name + strcspn(name, " \t\r\"]"), *rest = skip_space(end);
    struct byre_blkdebug_options *options = reader->options;

    if (*rest == '"' && !take_quoted(rest, &rest))
        return bad_line("a rule's name has no end", line, err);
    rest = skip_space(rest);
    if (*rest != ']' || !at_end(rest + 1))
        return bad_line("not the beginning of a rule", line, err);
    *end = '\0';
    reader->inject = NULL;
    reader->state = NULL;
    if (strcmp(name, "inject-error") == 0) {
        if (vec_push(&options->inject, byre_inject_error_init()) == 0)
            reader->inject = &options->inject.ptr[options->inject.len - 1];
    } else if (strcmp(name, "set-state") == 0) {
        if (vec_push(&options->states, byre_set_state_init()) == 0)
            reader->state = &options->states.ptr[options->states.len - 1];
    } else {
        return byre_error_set(err, -EINVAL, "There is no option group '%s'", name);
    }
    return reader->inject || reader->state ? 0 : byre_error_set(err, -ENOMEM, "Could not allocate a rule");
}

/* 'field = "value"'. */
static int read_field(struct reader *reader, char *line, struct byre_error *err)
{
    char *end = line + strcspn(line, " \t\r="), *equals = skip_space(end), *value, *rest;

    if (end == line || *equals != '=')
        return bad_line("expected field = \"value\"", line, err);
    value = take_quoted(skip_space(equals + 1), &rest);
    if (!value)
        return bad_line("a value must be in quotes", line, err);
    if (!at_end(rest))
        return bad_line("something follows the value", rest, err);
    *end = '\0';
    if (reader->inject)
        return byre_inject_error_set(reader->inject, line, value, err);
    if (reader->state)
        return byre_set_state_set(reader->state, line, value, err);
    return byre_error_set(err, -EINVAL, "no group defined for '%s'", line);
}

static int read_line(struct reader *reader, char *line, unsigned number, struct byre_error *err)
{
    int rc;

    line = skip_space(line);
    if (at_end(line))
        return 0;
    if (*line != '[')
        return read_field(reader, line, err);
    rc = finish_rule(reader, err);
    reader->started = number;
    return rc < 0 ? rc : begin_rule(reader, line, err);
}

static int read_text(char *text, struct byre_blkdebug_options *options, struct byre_error *err)
{
    struct reader reader = { .options = options };
    unsigned number = 0;

    for (char *next = text, *line; (line = strsep(&next, "\n"));) {
        int rc = read_line(&reader, line, ++number, err);

        if (rc < 0) {
            byre_error_prepend(err, "line %u: ", number);
            return rc;
        }
    }
    return finish_rule(&reader, err);
}

/* The whole file, ended with NUL. */
static int read_file(int fd, char **ret_text, struct byre_error *err)
{
    CLEANUP(free_ptr) char *text = malloc(FILE_MAX + 1);
    size_t length = 0;
    ssize_t n = text ? 1 : -1;

    if (!text)
        return byre_error_set(err, -ENOMEM, "Could not allocate a buffer");
    while (n > 0 && length <= FILE_MAX) {
        do {
            n = read(fd, text + length, FILE_MAX + 1 - length);
        } while (n < 0 && errno == EINTR);
        length += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        return byre_error_set_errno(err, -errno, "read");
    if (length > FILE_MAX || memchr(text, '\0', length))
        return byre_error_set(err, -EINVAL, "it is no text of at most %d bytes", FILE_MAX);
    text[length] = '\0';
    *ret_text = STEAL(text);
    return 0;
}

int byre_blkdebug_read_config(const char *path, struct byre_blkdebug_options *options, struct byre_error *err)
{
    CLEANUP(free_ptr) char *text = NULL;
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int rc;

    if (fd < 0)
        return byre_error_set_errno(err, -errno, "Could not read blkdebug config file '%s'", path);
    rc = read_file(fd, &text, err);
    if (rc == 0)
        rc = read_text(text, options, err);
    if (rc < 0)
        byre_error_prepend(err, "Could not parse blkdebug config file '%s': ", path);
    return rc;
}
