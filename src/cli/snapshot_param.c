/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the argument of convert -l, as qemu-img does: a list if it begins with "snapshot.", else an id or a name.
 */
#include "config.h"

#include "cli/snapshot_param.h"

#include <stdlib.h>
#include <string.h>

#include "cli/message.h"

static char *copy(const char *text, size_t length)
{
    char *copied = strndup(text, length);

    if (!copied)
        byre_die_no_memory();
    return copied;
}

/* The value that starts at *at, up to a comma, two of which are one of the value; *at is then behind it. */
static char *take_value(const char **at)
{
    char *value = copy(*at, strlen(*at)), *to = value;

    while (**at && (**at != ',' || (*at)[1] == ',')) {
        *at += **at == ',';
        *to++ = *(*at)++;
    }
    *to = '\0';
    *at += **at == ',';
    return value;
}

static char **place_of(struct byre_snapshot_param *param, const char *key, size_t length)
{
    if (length == 11 && strncmp(key, "snapshot.id", length) == 0)
        return &param->id;
    if (length == 13 && strncmp(key, "snapshot.name", length) == 0)
        return &param->name;
    return NULL;
}

static int read_list(struct byre_snapshot_param *param, const char *text)
{
    const char *at = text;

    while (*at) {
        size_t length = strcspn(at, "=,");
        char **place = at[length] == '=' ? place_of(param, at, length) : NULL;

        if (!place) {
            byre_complain("Invalid parameter '%.*s'", (int)length, at);
            byre_complain("Failed in parsing snapshot param '%s'", text);
            return -1;
        }
        at += length + 1;
        free(*place);
        *place = take_value(&at);
    }
    return 0;
}

int byre_snapshot_param_read(struct byre_snapshot_param *param, const char *text)
{
    if (strncmp(text, "snapshot.", 9) != 0) {
        param->word = text;
        return 0;
    }
    byre_snapshot_param_done(param);
    param->list = text;
    return read_list(param, text);
}

void byre_snapshot_param_done(struct byre_snapshot_param *param)
{
    free(param->id);
    free(param->name);
    param->id = param->name = NULL;
}

bool byre_snapshot_param_selector(const struct byre_snapshot_param *param,
                                  struct byre_snapshot_selector *ret_selector)
{
    if (param->list)
        *ret_selector = (struct byre_snapshot_selector){ .id = param->id, .name = param->name };
    else if (param->word)
        *ret_selector = (struct byre_snapshot_selector){ .any = param->word };
    return param->list || param->word;
}
