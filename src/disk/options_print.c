/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Printing an object as QEMU prints one in a name.
 *
 * QEMU keeps the members of an object in 512 buckets by a hash of their names, and prints them in that order: of
 * two in one bucket the younger one first.  The hash is the one of tdb, the trivial database.  Names that are
 * compared, or given back by scripts, are the same only if the order is.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "disk/options_tree.h"

#define BUCKETS 512

typedef VEC(char) text_vec;

struct ranked {
    const char *key;
    uint32_t bucket;
    size_t age; /* 0: the first one that was put in */
};

static uint32_t hash(const char *key)
{
    size_t length = strlen(key);
    uint32_t value = 0x238F13AF * (uint32_t)length;

    for (size_t i = 0; i < length; i++)
        value += (uint32_t)(uint8_t)key[i] << (i * 5 % 24);
    return 1103515243 * value + 12345;
}

static int compare_ranks(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->bucket != y->bucket)
        return x->bucket < y->bucket ? -1 : 1;
    return x->age > y->age ? -1 : x->age < y->age;
}

const char **byre_options_keys(const json_t *object, size_t *ret_count)
{
    size_t count = json_object_size(object), i = 0;
    CLEANUP(free_ptr) struct ranked *ranks = calloc(count + 1, sizeof *ranks);
    const char **keys = calloc(count + 1, sizeof *keys);
    const char *key;
    json_t *value;

    if (!ranks || !keys) {
        free(keys);
        return NULL;
    }
    json_object_foreach((json_t *)object, key, value) {
        (void)value;
        ranks[i] = (struct ranked){ key, hash(key) % BUCKETS, i };
        i++;
    }
    qsort(ranks, count, sizeof *ranks, compare_ranks);
    for (i = 0; i < count; i++)
        keys[i] = ranks[i].key;
    *ret_count = count;
    return keys;
}

static int put(text_vec *out, const char *bytes, size_t length)
{
    if (vec_reserve(out, length) < 0)
        return -1;
    memcpy(out->ptr + out->len, bytes, length);
    out->len += length;
    return 0;
}

static int put_text(text_vec *out, const char *text)
{
    return put(out, text, strlen(text));
}

static int put_point(text_vec *out, uint32_t point)
{
    static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";
    const char *special = point && point < 0x80 ? strchr(plain, (int)point) : NULL;
    char buf[16];

    if (special)
        snprintf(buf, sizeof buf, "\\%c", escaped[special - plain]);
    else if (point >= 0x20 && point < 0x7f)
        snprintf(buf, sizeof buf, "%c", (char)point);
    else if (point < 0x10000)
        snprintf(buf, sizeof buf, "\\u%04X", point);
    else
        snprintf(buf, sizeof buf, "\\u%04X\\u%04X", 0xD800 + ((point - 0x10000) >> 10),
                 0xDC00 + ((point - 0x10000) & 0x3ff));
    return put_text(out, buf);
}

static int put_string(text_vec *out, const char *text)
{
    int r = put_text(out, "\"");

    while (r == 0 && *text) {
        uint32_t point = 0xfffd; /* for a byte that is no character */
        size_t length = byre_utf8_length(text, BYRE_UTF8_TEXT, &point);

        text += MAX(length, 1u);
        r = put_point(out, point);
    }
    return r < 0 ? r : put_text(out, "\"");
}

static int put_object(text_vec *out, const json_t *object);

static int put_value(text_vec *out, const json_t *value)
{
    char buf[32];

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return put_object(out, value);
    case JSON_STRING:
        return put_string(out, json_string_value(value));
    case JSON_INTEGER:
        snprintf(buf, sizeof buf, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return put_text(out, buf);
    case JSON_REAL:
        snprintf(buf, sizeof buf, "%.17g", json_real_value(value));
        return put_text(out, buf);
    case JSON_TRUE:
        return put_text(out, "true");
    case JSON_FALSE:
        return put_text(out, "false");
    default:
        return put_text(out, "null");
    }
}

/* The depth is that of the nodes, which is bounded. */
static int put_object(text_vec *out, const json_t *object)
{
    size_t count;
    CLEANUP(free_ptr) const char **keys = byre_options_keys(object, &count);
    int r = keys ? put_text(out, "{") : -1;

    for (size_t i = 0; r == 0 && i < count; i++) {
        r = i ? put_text(out, ", ") : 0;
        if (r == 0)
            r = put_string(out, keys[i]);
        if (r == 0)
            r = put_text(out, ": ");
        if (r == 0)
            r = put_value(out, json_object_get(object, keys[i]));
    }
    return r < 0 ? r : put_text(out, "}");
}

char *byre_options_print(const json_t *object)
{
    text_vec out = VEC_INIT;

    if (put_text(&out, "json:") < 0 || put_object(&out, object) < 0 || put(&out, "", 1) < 0)
        vec_done(&out);
    return out.ptr;
}
