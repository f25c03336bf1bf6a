/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading objects.  Copies of what may be a password are wiped.
 */
#include "config.h"

#include "cli/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/arith.h"
#include "cli/message.h"

#define PROPERTIES_MAX 16

static struct byre_secrets *secrets;

/* An object as it was written; the texts lie in what was read. */
struct object {
    struct {
        const char *key;
        char *value;
    } properties[PROPERTIES_MAX];
    unsigned count;
};

const struct byre_secrets *byre_objects_secrets(void)
{
    return secrets;
}

void byre_objects_done(void)
{
    byre_secrets_free(secrets);
    secrets = NULL;
}

static int add_property(struct object *object, const char *key, char *value)
{
    if (object->count == PROPERTIES_MAX)
        return byre_complain("Parameter '%s' is unexpected", key);
    object->properties[object->count].key = key;
    object->properties[object->count++].value = value;
    return 0;
}

/* Cuts off the next member of the list in place: up to a comma that is not doubled. */
static char *cut_member(char **list)
{
    char *member = *list, *in = member, *out = member;

    if (!*in)
        return NULL;
    while (*in && !(in[0] == ',' && in[1] != ',')) {
        in += in[0] == ',';
        *out++ = *in++;
    }
    *list = *in ? in + 1 : in;
    *out = '\0';
    return member;
}

/* What stands behind "data=" is a part of the secret, if its commas are not doubled: it is not shown. */
static bool follows_data(const struct object *object, unsigned i)
{
    while (i-- > 0) {
        if (strcmp(object->properties[i].key, "data") == 0)
            return true;
    }
    return false;
}

/* "TYPE,KEY=VALUE,...": the type may be "qom-type=TYPE" as well. */
static int read_list(char *text, struct object *object)
{
    char *member, *equals;
    bool first = true;

    for (; (member = cut_member(&text)); first = false) {
        equals = strchr(member, '=');
        if (!equals && !first && (strcmp(member, "help") == 0 || strcmp(member, "?") == 0)) {
            if (add_property(object, "help", member) != 0)
                return 1;
            continue;
        }
        if (!equals && !first && follows_data(object, object->count))
            return byre_complain("Expected '=' after a parameter behind 'data' (is a comma in it doubled?)");
        if (!equals && !first)
            return byre_complain("Expected '=' after parameter '%s'", member);
        if (equals)
            *equals++ = '\0';
        if (add_property(object, equals ? member : "qom-type", equals ? equals : member) != 0)
            return 1;
    }
    return 0;
}

static int read_json(json_t *root, struct object *object)
{
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value) {
        if (!json_is_string(value))
            return byre_complain("Invalid parameter type for '%s', expected: string", key);
        if (add_property(object, key, (char *)json_string_value(value)) != 0)
            return 1;
    }
    return 0;
}

static void wipe(const struct object *object)
{
    for (unsigned i = 0; i < object->count; i++)
        explicit_bzero(object->properties[i].value, strlen(object->properties[i].value));
}

static int help(const char *type)
{
    if (!type)
        printf("List of user creatable objects:\n  secret\n");
    else
        printf("%s options:\n  data=<string>\n  file=<string>\n  format=<QCryptoSecretFormat>\n  iv=<string>\n"
               "  keyid=<string>\n", type);
    return 0;
}

/* Fills in the options of a secret.  0, 1 after a complaint. */
static int take_properties(const struct object *object, struct byre_secret_options *options, const char **ret_type)
{
    const struct {
        const char *key;
        const char **value;
    } known[] = {
        { "qom-type", ret_type },          { "id", &options->id },         { "data", &options->data },
        { "file", &options->file },        { "format", &options->format }, { "keyid", &options->key_id },
        { "iv", &options->iv },
    };

    for (unsigned i = 0; i < object->count; i++) {
        bool found = strcmp(object->properties[i].key, "help") == 0;

        for (unsigned j = 0; j < ARRAY_LEN(known); j++) {
            if (strcmp(object->properties[i].key, known[j].key) == 0) {
                *known[j].value = object->properties[i].value;
                found = true;
            }
        }
        if (!found && follows_data(object, i))
            return byre_complain("A parameter behind 'data' is unexpected (is a comma in it doubled?)");
        if (!found)
            return byre_complain("Parameter '%s' is unexpected", object->properties[i].key);
    }
    return 0;
}

static int add(const struct object *object)
{
    struct byre_secret_options options = { .id = NULL };
    struct byre_error err = BYRE_ERROR_INIT;
    const char *type = NULL;

    if (take_properties(object, &options, &type) != 0)
        return 1;
    if (!type)
        return byre_complain("Parameter 'qom-type' is missing");
    if (strcmp(type, "secret") != 0)
        return byre_complain("Parameter 'qom-type' does not accept value '%s'", type);
    if (!secrets)
        secrets = byre_secrets_new();
    if (!secrets)
        byre_die_no_memory();
    return byre_secrets_add(secrets, &options, &err) < 0 ? byre_complain_error(&err, "%s", "") : 0;
}

static bool wants_help(const struct object *object)
{
    for (unsigned i = 0; i < object->count; i++) {
        if (strcmp(object->properties[i].key, "help") == 0)
            return true;
    }
    return object->count == 1 && strcmp(object->properties[0].key, "qom-type") == 0 &&
           (strcmp(object->properties[0].value, "help") == 0 || strcmp(object->properties[0].value, "?") == 0);
}

int byre_objects_add(char *text, int *ret_exit_code)
{
    struct object object = { .count = 0 };
    size_t length = strlen(text);
    json_t *root = *text == '{' ? json_loads(text, 0, NULL) : NULL;
    int exit_code;

    if (*text == '{' && !json_is_object(root))
        exit_code = byre_complain("JSON parse error, invalid object");
    else
        exit_code = root ? read_json(root, &object) : read_list(text, &object);
    if (exit_code == 0 && wants_help(&object)) {
        *ret_exit_code = help(object.count > 1 ? object.properties[0].value : NULL);
        exit_code = -1;
    } else if (exit_code == 0) {
        exit_code = add(&object);
    }
    if (exit_code > 0)
        *ret_exit_code = exit_code;
    wipe(&object);
    json_decref(root);
    explicit_bzero(text, length);
    return exit_code == 0 ? 0 : -1;
}
