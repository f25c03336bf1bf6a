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
#include "base/vec.h"
#include "cli/message.h"

#define PROPERTIES_MAX 4096

static struct byre_secrets *secrets;
static const struct byre_object_kind *kinds;
static unsigned kind_count;
static VEC(char *) ids;

struct property {
    const char *key; /* lies in what was read, or is `made` */
    char *value;     /* lies in what was read; or a constant where it was no text */
    char *made;
    bool is_text;    /* false: what JSON has besides */
};

struct byre_object {
    VEC(struct property) properties;
};

void byre_objects_know(const struct byre_object_kind *known, unsigned count)
{
    kinds = known;
    kind_count = count;
}

const struct byre_secrets *byre_objects_secrets(void)
{
    return secrets;
}

void byre_objects_done(void)
{
    for (size_t i = 0; i < ids.len; i++)
        free(ids.ptr[i]);
    vec_done(&ids);
    byre_secrets_free(secrets);
    secrets = NULL;
}

const char *byre_object_get(const struct byre_object *object, const char *key)
{
    for (size_t i = object->properties.len; i-- > 0;) {
        if (strcmp(object->properties.ptr[i].key, key) == 0)
            return object->properties.ptr[i].value;
    }
    return NULL;
}

unsigned byre_object_count(const struct byre_object *object, const char *prefix)
{
    unsigned count = 0;

    for (size_t i = 0; i < object->properties.len; i++)
        count += strncmp(object->properties.ptr[i].key, prefix, strlen(prefix)) == 0;
    return count;
}

static int add_property(struct byre_object *object, const char *key, char *value)
{
    if (object->properties.len == PROPERTIES_MAX)
        return byre_complain("Parameter '%s' is unexpected", key);
    if (vec_push(&object->properties, (struct property){ .key = key, .value = value, .is_text = true }) < 0)
        byre_die_no_memory();
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
static bool follows_data(const struct byre_object *object, size_t i)
{
    while (i-- > 0) {
        if (strcmp(object->properties.ptr[i].key, "data") == 0)
            return true;
    }
    return false;
}

/* "TYPE,KEY=VALUE,...": the type may be "qom-type=TYPE" as well. */
static int read_list(char *text, struct byre_object *object)
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
        if (!equals && !first && follows_data(object, object->properties.len))
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

static int read_value(const char *key, char *made, json_t *value, struct byre_object *object);

/* The members of a list's objects, as "NAME.NUMBER.KEY". */
static int read_nested(const char *name, json_t *list, struct byre_object *object)
{
    const char *key;
    json_t *value;
    char *made;

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_object_foreach(json_array_get(list, i), key, value) {
            if (asprintf(&made, "%s.%zu.%s", name, i, key) < 0)
                byre_die_no_memory();
            if (read_value(made, made, value, object) != 0)
                return 1;
        }
    }
    return 0;
}

static int read_value(const char *key, char *made, json_t *value, struct byre_object *object)
{
    static char on[] = "on", off[] = "off", other[] = "";
    bool is_text = json_is_string(value);
    char *text = json_is_true(value) ? on : json_is_false(value) ? off : other;

    if (add_property(object, key, is_text ? (char *)json_string_value(value) : text) != 0) {
        free(made);
        return 1;
    }
    object->properties.ptr[object->properties.len - 1].made = made;
    object->properties.ptr[object->properties.len - 1].is_text = is_text;
    return made ? 0 : read_nested(key, value, object);
}

static int read_json(json_t *root, struct byre_object *object)
{
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value) {
        if (read_value(key, NULL, value, object) != 0)
            return 1;
    }
    return 0;
}

/* Wipes what may be a password, and releases the rest. */
static void object_done(struct byre_object *object)
{
    for (size_t i = 0; i < object->properties.len; i++) {
        if (object->properties.ptr[i].is_text)
            explicit_bzero(object->properties.ptr[i].value, strlen(object->properties.ptr[i].value));
        free(object->properties.ptr[i].made);
    }
    vec_done(&object->properties);
}

/* --- kinds besides secrets --------------------------------------------------------------------------------- */

static const struct byre_object_kind *find_kind(const char *type)
{
    for (unsigned i = 0; i < kind_count; i++) {
        if (strcmp(kinds[i].type, type) == 0)
            return &kinds[i];
    }
    return NULL;
}

static int help(const char *type)
{
    const struct byre_object_kind *kind = type ? find_kind(type) : NULL;

    if (!type) {
        printf("List of user creatable objects:\n");
        for (unsigned i = 0; i < kind_count && strcmp(kinds[i].type, "secret") < 0; i++)
            printf("  %s\n", kinds[i].type);
        printf("  secret\n");
        for (unsigned i = 0; i < kind_count; i++) {
            if (strcmp(kinds[i].type, "secret") > 0)
                printf("  %s\n", kinds[i].type);
        }
    } else if (kind) {
        printf("%s options:\n", type);
        for (unsigned i = 0; kind->properties[i]; i++)
            printf("  %s\n", kind->properties[i]);
    } else {
        printf("%s options:\n  data=<string>\n  file=<string>\n  format=<QCryptoSecretFormat>\n  iv=<string>\n"
               "  keyid=<string>\n", type);
    }
    return 0;
}

/* "on" or "off" as it is written, also in other words. */
static int judge_bool(struct property *property)
{
    static char on[] = "on", off[] = "off";
    static const char *const words[][2] = { { "on", "off" }, { "yes", "no" }, { "true", "false" }, { "y", "n" } };

    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        bool is_on = strcmp(property->value, words[i][0]) == 0;

        if (is_on || strcmp(property->value, words[i][1]) == 0) {
            property->value = is_on ? on : off;
            property->is_text = false;
            return 0;
        }
    }
    return byre_complain("Parameter '%s' expects 'on' or 'off'", property->key);
}

static int judge_property(const struct byre_object_kind *kind, struct property *property)
{
    size_t list = kind->list ? strlen(kind->list) : 0;
    bool nested = list && strncmp(property->key, kind->list, list) == 0;

    if (nested && !property->key[list] && !property->is_text)
        return 0;
    for (unsigned i = 0; kind->properties[i]; i++) {
        size_t length = strcspn(kind->properties[i], "=");

        if (strlen(property->key) == length && strncmp(property->key, kind->properties[i], length) == 0 && !nested) {
            if (strcmp(kind->properties[i] + length, "=<bool>") == 0)
                return judge_bool(property);
            return property->is_text ? 0 : byre_complain("Invalid parameter type for '%s', expected: string",
                                                         property->key);
        }
    }
    if (nested && property->key[list] == '.' && property->is_text)
        return 0;
    return byre_complain("Parameter '%s' is unexpected", property->key);
}

static int judge_id(const char *id)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                      others[] = "-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    if (!id)
        return byre_complain("Parameter 'id' is missing");
    if (strspn(id, letters) == 0 || id[strspn(id, others)])
        return byre_complain("Parameter 'id' expects an identifier\n"
                             "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
    return 0;
}

/* Another object must not have the id; from now on this one has it. */
static int take_id(const char *id)
{
    char *copy;

    for (size_t i = 0; i < ids.len; i++) {
        if (strcmp(ids.ptr[i], id) == 0)
            return byre_complain("attempt to add duplicate property '%s' to object (type 'container')", id);
    }
    copy = strdup(id);
    if (!copy || vec_push(&ids, copy) < 0)
        byre_die_no_memory();
    return 0;
}

static int add_of_kind(const struct byre_object_kind *kind, struct byre_object *object)
{
    const char *id = byre_object_get(object, "id");

    for (size_t i = 0; i < object->properties.len; i++) {
        const char *key = object->properties.ptr[i].key;

        if (strcmp(key, "id") != 0 && strcmp(key, "qom-type") != 0 &&
            judge_property(kind, &object->properties.ptr[i]) != 0)
            return 1;
    }
    return judge_id(id) == 0 && take_id(id) == 0 ? kind->add(object) : 1;
}

/* --- secrets ----------------------------------------------------------------------------------------------- */

/* Fills in the options of a secret.  0, 1 after a complaint. */
static int take_properties(const struct byre_object *object, struct byre_secret_options *options, const char **ret_type)
{
    const struct {
        const char *key;
        const char **value;
    } known[] = {
        { "qom-type", ret_type },          { "id", &options->id },         { "data", &options->data },
        { "file", &options->file },        { "format", &options->format }, { "keyid", &options->key_id },
        { "iv", &options->iv },
    };

    for (size_t i = 0; i < object->properties.len; i++) {
        bool found = strcmp(object->properties.ptr[i].key, "help") == 0;

        for (unsigned j = 0; j < ARRAY_LEN(known); j++) {
            if (strcmp(object->properties.ptr[i].key, known[j].key) == 0) {
                *known[j].value = object->properties.ptr[i].value;
                found = true;
            }
        }
        if (!found && follows_data(object, i))
            return byre_complain("A parameter behind 'data' is unexpected (is a comma in it doubled?)");
        if (!found)
            return byre_complain("Parameter '%s' is unexpected", object->properties.ptr[i].key);
    }
    return 0;
}

static int add_secret(const struct byre_object *object)
{
    struct byre_secret_options options = { .id = NULL };
    struct byre_error err = BYRE_ERROR_INIT;
    const char *type = byre_object_get(object, "qom-type");

    if (type && strcmp(type, "secret") != 0)
        return byre_complain("Parameter 'qom-type' does not accept value '%s'", type);
    for (size_t i = 0; i < object->properties.len; i++) {
        if (!object->properties.ptr[i].is_text)
            return byre_complain("Invalid parameter type for '%s', expected: string", object->properties.ptr[i].key);
    }
    if (take_properties(object, &options, &type) != 0)
        return 1;
    if (!type)
        return byre_complain("Parameter 'qom-type' is missing");
    if (options.id && take_id(options.id) != 0)
        return 1;
    if (!secrets)
        secrets = byre_secrets_new();
    if (!secrets)
        byre_die_no_memory();
    return byre_secrets_add(secrets, &options, &err) < 0 ? byre_complain_error(&err, "%s", "") : 0;
}

static int add(struct byre_object *object)
{
    const char *type = byre_object_get(object, "qom-type");
    const struct byre_object_kind *kind = type ? find_kind(type) : NULL;

    return kind ? add_of_kind(kind, object) : add_secret(object);
}

static bool wants_help(const struct byre_object *object)
{
    const struct property *first = object->properties.ptr;

    if (byre_object_get(object, "help"))
        return true;
    return object->properties.len == 1 && strcmp(first->key, "qom-type") == 0 &&
           (strcmp(first->value, "help") == 0 || strcmp(first->value, "?") == 0);
}

int byre_objects_add(char *text, int *ret_exit_code)
{
    struct byre_object object = { .properties = VEC_INIT };
    size_t length = strlen(text);
    json_t *root = *text == '{' ? json_loads(text, 0, NULL) : NULL;
    int exit_code;

    if (*text == '{' && !json_is_object(root))
        exit_code = byre_complain("JSON parse error, invalid object");
    else
        exit_code = root ? read_json(root, &object) : read_list(text, &object);
    if (exit_code == 0 && wants_help(&object)) {
        *ret_exit_code = help(object.properties.len > 1 ? object.properties.ptr[0].value : NULL);
        exit_code = -1;
    } else if (exit_code == 0) {
        exit_code = add(&object);
    }
    if (exit_code > 0)
        *ret_exit_code = exit_code;
    object_done(&object);
    json_decref(root);
    explicit_bzero(text, length);
    return exit_code == 0 ? 0 : -1;
}
