/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists of rules, and those that lie in files.
 */
#include "config.h"

#include "nbd/authz.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/vec.h"

#define FILE_MAX (1u << 20) /* bytes of a list */

struct rule {
    char *match;
    bool glob, allow;
};

struct rules {
    VEC(struct rule) list;
    bool allow; /* those whom no rule matches */
};

struct byre_nbd_authz {
    pthread_mutex_t mutex;
    struct rules rules; /* under it, where they come from a file */
    char *path;         /* of the file, or NULL */
    bool refresh;
    struct stat read;   /* under the mutex: the file as it was when it was read */
};

static void rules_done(struct rules *rules)
{
    for (size_t i = 0; i < rules->list.len; i++)
        free(rules->list.ptr[i].match);
    vec_done(&rules->list);
    rules->allow = false;
}

/* --- matching ---------------------------------------------------------------------------------------------- */

/* Behind the character at `at`, which may have several bytes. */
static const char *next_character(const char *at)
{
    do
        at++;
    while ((*at & 0xc0) == 0x80);
    return at;
}

/* Where it fails, the last "*" takes one character more: no more than both lengths multiplied. */
static bool glob_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *again = NULL;

    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            again = text;
        } else if (*pattern == '?') {
            pattern++;
            text = next_character(text);
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = again = next_character(again);
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

static bool rules_allow(const struct rules *rules, const char *identity)
{
    for (size_t i = 0; i < rules->list.len; i++) {
        const struct rule *rule = &rules->list.ptr[i];

        if (rule->glob ? glob_matches(rule->match, identity) : strcmp(rule->match, identity) == 0)
            return rule->allow;
    }
    return rules->allow;
}

/* --- making rules ------------------------------------------------------------------------------------------ */

static int read_policy(const char *text, bool *ret_allow, struct byre_error *err)
{
    if (strcmp(text, "allow") != 0 && strcmp(text, "deny") != 0)
        return byre_error_set(err, -EINVAL, "Parameter 'policy' does not accept value '%s'", text);
    *ret_allow = strcmp(text, "allow") == 0;
    return 0;
}

static int add_rule(struct rules *rules, const char *match, const char *policy, const char *format,
                    struct byre_error *err)
{
    struct rule rule = { .glob = format && strcmp(format, "glob") == 0 };

    if (!match || !policy)
        return byre_error_set(err, -EINVAL, "Parameter '%s' is missing", match ? "policy" : "match");
    if (format && !rule.glob && strcmp(format, "exact") != 0)
        return byre_error_set(err, -EINVAL, "Parameter 'format' does not accept value '%s'", format);
    if (read_policy(policy, &rule.allow, err) < 0)
        return -EINVAL;
    rule.match = strdup(match);
    if (!rule.match || vec_push(&rules->list, rule) < 0) {
        free(rule.match);
        return byre_error_set_errno(err, -ENOMEM, "authorization");
    }
    return 0;
}

/* --- from a file ------------------------------------------------------------------------------------------- */

/* A member that is a text: 1; 0 where it is missing. */
static int get_text(const json_t *object, const char *key, const char **ret_text, struct byre_error *err)
{
    const json_t *member = json_object_get(object, key);

    if (member && !json_is_string(member))
        return byre_error_set(err, -EINVAL, "Invalid parameter type for '%s', expected: string", key);
    *ret_text = json_string_value(member);
    return member ? 1 : 0;
}

static int take_rule(struct rules *rules, const json_t *object, struct byre_error *err)
{
    const char *match = NULL, *policy = NULL, *format = NULL;
    int rc = json_is_object(object) ? 0 : byre_error_set(err, -EINVAL, "a rule is no object");

    if (rc >= 0)
        rc = get_text(object, "match", &match, err);
    if (rc >= 0)
        rc = get_text(object, "policy", &policy, err);
    if (rc >= 0)
        rc = get_text(object, "format", &format, err);
    return rc < 0 ? rc : add_rule(rules, match, policy, format, err);
}

static int take_list(struct rules *rules, json_t *root, struct byre_error *err)
{
    const json_t *list = json_object_get(root, "rules");
    const char *policy = NULL, *key;
    json_t *value;
    int rc;

    if (!json_is_object(root))
        return byre_error_set(err, -EINVAL, "it is no JSON object");
    json_object_foreach(root, key, value) {
        if (strcmp(key, "rules") != 0 && strcmp(key, "policy") != 0)
            return byre_error_set(err, -EINVAL, "Parameter '%s' is unexpected", key);
    }
    if (list && !json_is_array(list))
        return byre_error_set(err, -EINVAL, "Invalid parameter type for 'rules', expected: array");
    rc = get_text(root, "policy", &policy, err);
    if (rc > 0)
        rc = read_policy(policy, &rules->allow, err);
    for (size_t i = 0; i < json_array_size(list) && rc >= 0; i++)
        rc = take_rule(rules, json_array_get(list, i), err);
    return rc < 0 ? rc : 0;
}

static int read_file(const char *path, struct rules *rules, struct stat *ret_read, struct byre_error *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    json_error_t error;
    json_t *root;
    int rc;

    if (fd < 0)
        return byre_error_set(err, -errno, "Unable to read '%s': %s", path, strerror(errno));
    if (fstat(fd, ret_read) < 0 || !S_ISREG(ret_read->st_mode) || ret_read->st_size > FILE_MAX)
        return byre_error_set(err, -EINVAL, "Unable to read '%s': it is no file of at most %u bytes", path, FILE_MAX);
    root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return byre_error_set(err, -EINVAL, "Unable to parse '%s': line %d: %s", path, error.line, error.text);
    rc = take_list(rules, root, err);
    json_decref(root);
    if (rc < 0)
        byre_error_prepend(err, "Unable to parse '%s': ", path);
    return rc;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* What cannot be read is read again the next time. */
static void refresh_locked(struct byre_nbd_authz *authz)
{
    struct stat now;

    if (stat(authz->path, &now) == 0 && is_same(&now, &authz->read))
        return;
    rules_done(&authz->rules);
    if (read_file(authz->path, &authz->rules, &authz->read, NULL) == 0)
        return;
    rules_done(&authz->rules);
    memset(&authz->read, 0, sizeof authz->read);
}

/* --- the whole --------------------------------------------------------------------------------------------- */

static struct byre_nbd_authz *new_authz(struct byre_error *err)
{
    struct byre_nbd_authz *authz = calloc(1, sizeof *authz);

    if (!authz)
        byre_error_set_errno(err, -ENOMEM, "authorization");
    else
        pthread_mutex_init(&authz->mutex, NULL);
    return authz;
}

int byre_nbd_authz_new(const char *policy, struct byre_nbd_authz **ret_authz, struct byre_error *err)
{
    struct byre_nbd_authz *authz = new_authz(err);

    if (!authz)
        return -ENOMEM;
    if (policy && read_policy(policy, &authz->rules.allow, err) < 0) {
        byre_nbd_authz_free(authz);
        return -EINVAL;
    }
    *ret_authz = authz;
    return 0;
}

int byre_nbd_authz_new_file(const char *path, bool refresh, struct byre_nbd_authz **ret_authz, struct byre_error *err)
{
    struct byre_nbd_authz *authz = new_authz(err);
    int rc;

    if (!authz)
        return -ENOMEM;
    authz->refresh = refresh;
    authz->path = strdup(path);
    rc = authz->path ? read_file(path, &authz->rules, &authz->read, err)
                     : byre_error_set_errno(err, -ENOMEM, "authorization");
    if (rc < 0)
        byre_nbd_authz_free(authz);
    else
        *ret_authz = authz;
    return rc;
}

void byre_nbd_authz_free(struct byre_nbd_authz *authz)
{
    if (!authz)
        return;
    rules_done(&authz->rules);
    pthread_mutex_destroy(&authz->mutex);
    free(authz->path);
    free(authz);
}

int byre_nbd_authz_add(struct byre_nbd_authz *authz, const char *match, const char *policy, const char *format,
                       struct byre_error *err)
{
    return add_rule(&authz->rules, match, policy, format, err);
}

bool byre_nbd_authz_allows(struct byre_nbd_authz *authz, const char *identity)
{
    LOCK_SCOPE(&authz->mutex);

    if (authz->path && authz->refresh)
        refresh_locked(authz);
    return identity && rules_allow(&authz->rules, identity);
}
