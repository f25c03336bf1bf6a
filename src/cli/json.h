/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON output: jansson objects printed as qemu-img prints them.
 */
#ifndef BYRE_CLI_JSON_H
#define BYRE_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* All of these end the program where memory is short, which is what a NULL value handed to them means too. */
json_t *byre_json_object(void);
json_t *byre_json_array(void);
void byre_json_add(json_t *object, const char *key, json_t *value); /* takes `value` over */
void byre_json_append(json_t *array, json_t *value);                /* takes `value` over */

/* Text that is not valid UTF-8 has its bad bytes replaced by U+FFFD. */
json_t *byre_json_text(const char *text);
void byre_json_add_text(json_t *object, const char *key, const char *text); /* NULL is left out */
void byre_json_add_number(json_t *object, const char *key, uint64_t value);
void byre_json_add_bool(json_t *object, const char *key, bool value);

/* Prints `value`, indented by four, and a newline on standard output; releases it. */
void byre_json_print(json_t *value);
/* The same text, of `*ret_length` bytes and with a null byte after it, to be freed by the caller. */
char *byre_json_to_text(json_t *value, size_t *ret_length);

#endif
