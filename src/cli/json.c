/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON output.  Members come in the order in which they were added.  The only place that knows how jansson
 * prints and what it refuses: it writes an empty array in one line, where qemu-img takes two, and it takes no
 * invalid UTF-8, while file names are any bytes.
 */
#include "config.h"

#include "cli/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "cli/message.h"

/* A copy of `text` in which each byte that is no UTF-8 has become U+FFFD. */
static char *clean_utf8(const char *text)
{
    char *copy = malloc(3 * strlen(text) + 1);
    char *out = copy;

    if (!copy)
        byre_die_no_memory();
    while (*text) {
        size_t n = byre_utf8_length(text, BYRE_UTF8_TEXT, NULL);

        if (n)
            memcpy(out, text, n);
        else
            memcpy(out, "\xef\xbf\xbd", 3);
        out += n ? n : 3;
        text += n ? n : 1;
    }
    *out = '\0';
    return copy;
}

json_t *byre_json_object(void)
{
    json_t *object = json_object();

    if (!object)
        byre_die_no_memory();
    return object;
}

json_t *byre_json_array(void)
{
    json_t *array = json_array();

    if (!array)
        byre_die_no_memory();
    return array;
}

void byre_json_add(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        byre_die_no_memory();
}

void byre_json_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0)
        byre_die_no_memory();
}

json_t *byre_json_text(const char *text)
{
    CLEANUP(free_ptr) char *clean = clean_utf8(text);

    return json_string(clean);
}

void byre_json_add_text(json_t *object, const char *key, const char *text)
{
    if (text)
        byre_json_add(object, key, byre_json_text(text));
}

void byre_json_add_number(json_t *object, const char *key, uint64_t value)
{
    byre_json_add(object, key, json_integer((json_int_t)value));
}

void byre_json_add_bool(json_t *object, const char *key, bool value)
{
    byre_json_add(object, key, json_boolean(value));
}

static void start_line(FILE *out, unsigned depth)
{
    fprintf(out, "\n%*s", (int)(4 * depth), "");
}

static void print_value(FILE *out, json_t *value, unsigned depth);

static void print_object(FILE *out, json_t *object, unsigned depth)
{
    const char *key, *separator = "";
    json_t *member;

    putc('{', out);
    json_object_foreach(object, key, member) {
        fputs(separator, out);
        start_line(out, depth + 1);
        fprintf(out, "\"%s\": ", key);
        print_value(out, member, depth + 1);
        separator = ",";
    }
    start_line(out, depth);
    putc('}', out);
}

static void print_array(FILE *out, json_t *array, unsigned depth)
{
    const char *separator = "";
    json_t *member;
    size_t i;

    putc('[', out);
    json_array_foreach(array, i, member) {
        fputs(separator, out);
        start_line(out, depth + 1);
        print_value(out, member, depth + 1);
        separator = ",";
    }
    start_line(out, depth);
    putc(']', out);
}

/* The recursion is as deep as the objects that the verbs put together. */
static void print_value(FILE *out, json_t *value, unsigned depth)
{
    if (json_is_object(value))
        print_object(out, value, depth);
    else if (json_is_array(value))
        print_array(out, value, depth);
    else if (json_dumpf(value, out, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) < 0 && !ferror(out))
        byre_die_no_memory();
}

void byre_json_print(json_t *value)
{
    print_value(stdout, value, 0);
    putchar('\n');
    json_decref(value);
}

char *byre_json_to_text(json_t *value, size_t *ret_length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_length);

    if (!out)
        byre_die_no_memory();
    print_value(out, value, 0);
    putc('\n', out);
    if (ferror(out) | fclose(out))
        byre_die_no_memory();
    json_decref(value);
    return text;
}
