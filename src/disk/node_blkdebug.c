/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blkdebug nodes: rules from a config file and from options, and limits.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/node.h"
#include "disk/options_tree.h"
#include "store/blkdebug.h"

/* Reading one list of rules. */
struct rules {
    struct byre_blkdebug_options *options;
    bool inject; /* [inject-error], else [set-state] */
    const char *const *fields;
};

static const char *const inject_fields[] = {
    "event", "state", "iotype", "errno", "sector", "once", "immediately", NULL,
};
static const char *const state_fields[] = { "event", "state", "new_state", NULL };

static const char *section(const struct rules *rules)
{
    return rules->inject ? "inject-error" : "set-state";
}

/* Hands the fields of one rule to `set`, as text. */
static int take_fields(const struct rules *rules, json_t *rule, struct byre_inject_error *inject,
                       struct byre_set_state *state, struct byre_error *err)
{
    int r = 0;

    for (unsigned i = 0; r >= 0 && rules->fields[i]; i++) {
        CLEANUP(free_ptr) char *text = NULL;

        r = byre_options_take_text(rule, rules->fields[i], &text, err);
        if (r > 0 && rules->inject)
            r = byre_inject_error_set(inject, rules->fields[i], text, err);
        else if (r > 0)
            r = byre_set_state_set(state, rules->fields[i], text, err);
    }
    return r < 0 ? r : 0;
}

static int take_rule(const struct rules *rules, json_t *rule, struct byre_error *err)
{
    struct byre_inject_error inject = byre_inject_error_init();
    struct byre_set_state state = byre_set_state_init();
    int r = take_fields(rules, rule, &inject, &state, err);
    const char *left = byre_options_left(rule);

    if (r < 0)
        return r;
    if (left)
        return byre_error_set(err, -EINVAL, "[%s] section doesn't support the option '%s'", section(rules), left);
    if ((rules->inject ? inject.event : state.event) == BYRE_BLKDEBUG_NO_EVENT)
        return byre_error_set(err, -EINVAL, "Missing event name for rule");
    r = rules->inject ? vec_push(&rules->options->inject, inject) : vec_push(&rules->options->states, state);
    return r < 0 ? byre_error_set_errno(err, r, "options") : 0;
}

/* The rules 0, 1, 2 and so on of a list. */
static int take_rules(json_t *tree, const struct rules *rules, struct byre_error *err)
{
    CLEANUP(tree) json_t *list = NULL;
    const char *left;
    int r = byre_options_take_branch(tree, section(rules), &list, err), there = 1;

    for (unsigned i = 0; r >= 0 && there; i++) {
        CLEANUP(tree) json_t *rule = NULL;
        char key[16];

        snprintf(key, sizeof key, "%u", i);
        r = there = byre_options_take_branch(list, key, &rule, err);
        if (there > 0)
            r = take_rule(rules, rule, err);
    }
    if (r < 0)
        return r;
    left = byre_options_left(list);
    return left ? byre_error_set(err, -EINVAL, "Unused option '%s' for [%s]", left, section(rules)) : 0;
}

static int take_limits(json_t *tree, struct byre_blkdebug_options *options, struct byre_error *err)
{
    const struct {
        const char *key;
        uint64_t *value;
    } limits[] = {
        { "align", &options->align },
        { "max-transfer", &options->max_transfer },
        { "opt-write-zero", &options->opt_write_zero },
        { "max-write-zero", &options->max_write_zero },
        { "opt-discard", &options->opt_discard },
        { "max-discard", &options->max_discard },
    };
    int r = 0;

    for (unsigned i = 0; r >= 0 && i < ARRAY_LEN(limits); i++)
        r = byre_options_take_size(tree, limits[i].key, limits[i].value, err);
    return r < 0 ? r : 0;
}

static int take_options(json_t *tree, const char *config, struct byre_blkdebug_options *options,
                        struct byre_error *err)
{
    const struct rules inject = { options, true, inject_fields }, states = { options, false, state_fields };
    int r = config ? byre_blkdebug_read_config(config, options, err) : 0;

    if (r == 0)
        r = take_rules(tree, &inject, err);
    if (r == 0)
        r = take_rules(tree, &states, err);
    return r < 0 ? r : take_limits(tree, options, err);
}

/* The name "blkdebug:CONFIG:IMAGE", or NULL. */
static char *short_name(const char *config, const char *image)
{
    size_t size = strlen("blkdebug::") + strlen(config) + strlen(image) + 1;
    char *name = malloc(size);

    if (name)
        snprintf(name, size, "blkdebug:%s:%s", config, image);
    return name;
}

/* Makes the node of the child's: `shown` has the options that it was given. */
static int describe(struct byre_node *node, struct byre_node *child, json_t *shown, const char *config,
                    struct byre_error *err)
{
    bool brief = json_object_size(shown) == (config ? 1 : 0);
    CLEANUP(tree) json_t *full = byre_node_show(BYRE_DRIVER_BLKDEBUG, "image", child);

    if (!full || json_object_update(full, shown) < 0)
        return byre_error_set_errno(err, -ENOMEM, "options");
    node->exact = brief && child->exact ? short_name(config ? config : "", child->exact) : NULL;
    if (brief && child->exact && !node->exact)
        return byre_error_set_errno(err, -ENOMEM, "options");
    node->full = STEAL(full);
    node->path = STEAL(child->path);
    node->has_file = child->has_file;
    node->is_flat = child->is_flat;
    node->offset = child->offset;
    node->dev = child->dev;
    node->ino = child->ino;
    node->is_protocol = true;
    return 0;
}

static int make(json_t *tree, struct byre_node *child, struct byre_node *ret_node, struct byre_error *err)
{
    struct byre_blkdebug_options options = { .align = 0 };
    CLEANUP(tree) json_t *shown = json_copy(tree);
    CLEANUP(free_ptr) char *config = NULL;
    int r = shown ? byre_options_take_text(tree, "config", &config, err) :
                    byre_error_set_errno(err, -ENOMEM, "options");

    if (r >= 0)
        r = take_options(tree, config, &options, err);
    if (r >= 0)
        r = describe(ret_node, child, shown, config, err);
    if (r >= 0)
        r = byre_blkdebug_new(child->store, &options, &ret_node->store, err);
    if (r == 0)
        child->store = NULL;
    byre_blkdebug_options_done(&options);
    return r;
}

int byre_node_open_blkdebug(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                            struct byre_error *err)
{
    CLEANUP(tree) json_t *branch = NULL;
    struct byre_node child = { .store = NULL };
    int r = byre_node_take_child(tree, "image", &branch, err);

    if (r == 0)
        r = byre_node_open(branch, mode, &child, err);
    if (r == 0)
        r = make(tree, &child, ret_node, err);
    byre_node_done(&child);
    return r;
}
