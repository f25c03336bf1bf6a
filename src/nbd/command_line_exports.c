/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is exported: from options to offers.
 */
#include "config.h"

#include "nbd/command_line_exports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "cli/arguments.h"
#include "cli/create_options.h"
#include "cli/message.h"
#include "nbd/command_line.h"

#define PARTITIONS_MAX 65536u

/* The offers, and the texts that they point to. */
struct plan {
    const struct byre_nbd_command_line *line;
    VEC(struct byre_nbd_offer) offers;
    VEC(char *) texts;
    VEC(const char **) lists; /* of bitmaps */
    bool has_operand;         /* which is the first offer */
};

bool byre_nbd_export_argument(struct byre_nbd_export_arguments *arguments, int id, const char *text)
{
    switch (id) {
    case 'l': arguments->failed |= byre_snapshot_param_read(&arguments->snapshot, text) < 0; break;
    case 'o': arguments->offset = text; break;
    case 's': arguments->temporary = true; break;
    case BYRE_NBD_OPT_EXPORT:
        if (vec_push(&arguments->exports, text) < 0)
            byre_die_no_memory();
        break;
    case BYRE_NBD_OPT_EXPORT_DIR: arguments->directory = text; break;
    case BYRE_NBD_OPT_PARTITION: arguments->partition = text; break;
    case BYRE_NBD_OPT_PARTITIONS: arguments->partitions = true; break;
    case BYRE_NBD_OPT_SNAPSHOTS: arguments->snapshots = true; break;
    default: return false;
    }
    return true;
}

bool byre_nbd_export_arguments_given(const struct byre_nbd_export_arguments *arguments)
{
    return arguments->exports.len || arguments->directory;
}

void byre_nbd_export_arguments_done(struct byre_nbd_export_arguments *arguments)
{
    vec_done(&arguments->exports);
    byre_snapshot_param_done(&arguments->snapshot);
}

static bool has_snapshot(const struct byre_nbd_export_arguments *arguments)
{
    return arguments->snapshot.word || arguments->snapshot.list;
}

bool byre_nbd_export_arguments_used(const struct byre_nbd_export_arguments *arguments)
{
    return byre_nbd_export_arguments_given(arguments) || has_snapshot(arguments) || arguments->offset ||
           arguments->partition || arguments->temporary || arguments->snapshots || arguments->partitions;
}

/* Options that are about the operand alone. */
static const char *operand_option(const struct byre_nbd_command_line *line)
{
    const struct byre_nbd_export_arguments *arguments = &line->exports;

    return line->bitmaps.len           ? "--bitmap"
           : line->description         ? "--description"
           : *line->export_name        ? "--export-name"
           : line->image_opts          ? "--image-opts"
           : has_snapshot(arguments)   ? "--load-snapshot"
           : arguments->offset         ? "--offset"
           : arguments->partition      ? "--partition"
                                       : NULL;
}

int byre_nbd_exports_check(const struct byre_nbd_command_line *line)
{
    const struct byre_nbd_export_arguments *arguments = &line->exports;
    const char *alone = line->image ? NULL : operand_option(line);

    if (arguments->failed)
        return -1;
    if (alone)
        byre_complain("%s is about IMAGE, and there is none", alone);
    else if (arguments->temporary && has_snapshot(arguments))
        byre_complain("--snapshot and --load-snapshot cannot be used together");
    else if (arguments->offset && arguments->partition)
        byre_complain("--offset and --partition cannot be used together");
    else if (arguments->partitions && (arguments->offset || arguments->partition))
        byre_complain("--partitions cannot be used together with --offset or --partition");
    else if (arguments->snapshots && (arguments->temporary || has_snapshot(arguments)))
        byre_complain("--snapshots cannot be used together with --snapshot or --load-snapshot");
    else if (arguments->snapshots && (arguments->offset || arguments->partition))
        byre_complain("--snapshots cannot be used together with --offset or --partition");
    else if ((arguments->snapshots || arguments->partitions) && !line->image && !arguments->exports.len)
        byre_complain("--snapshots and --partitions are for IMAGE and --export: those of a directory need no option");
    else
        return 0;
    return -1;
}

/* --- reading ----------------------------------------------------------------------------------------------- */

static struct byre_nbd_offer defaults(const struct byre_nbd_command_line *line)
{
    return (struct byre_nbd_offer){
        .open = line->open,
        .temporary = line->exports.temporary,
        .shared = line->clients_max != 1,
        .allocation_depth = line->allocation_depth,
        .snapshots = line->exports.snapshots,
        .partitions = line->exports.partitions,
    };
}

static int read_partition(const char *text, unsigned *ret_number)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    if (*text < '1' || *text > '9' || *end || number > PARTITIONS_MAX) {
        byre_complain("Invalid partition '%s'", text);
        return -1;
    }
    *ret_number = (unsigned)number;
    return 0;
}

static int read_offset(const char *text, uint64_t *ret_offset)
{
    char *end;

    errno = 0;
    *ret_offset = strtoull(text, &end, 0);
    if (errno || end == text || *end || strchr(text, '-')) {
        byre_complain("Invalid offset '%s'", text);
        return -1;
    }
    return 0;
}

static int plan_operand(struct plan *plan)
{
    const struct byre_nbd_command_line *line = plan->line;
    struct byre_nbd_offer offer = defaults(line);
    char *name;

    if (!line->image)
        return 0;
    if (byre_argument_image(line->image, line->image_opts, line->open.format, &name) < 0)
        return -1;
    if (vec_push(&plan->texts, name) < 0)
        byre_die_no_memory();
    offer.file = name;
    offer.name = line->export_name;
    offer.description = line->description;
    offer.bitmaps = line->bitmaps.ptr;
    offer.bitmap_count = line->bitmaps.len;
    offer.has_snapshot = byre_snapshot_param_selector(&line->exports.snapshot, &offer.snapshot);
    if ((line->exports.offset && read_offset(line->exports.offset, &offer.offset) < 0) ||
        (line->exports.partition && read_partition(line->exports.partition, &offer.partition) < 0))
        return -1;
    plan->has_operand = true;
    return vec_push(&plan->offers, offer);
}

typedef VEC(const char *) names;

static int read_flag(const char *key, const char *value, bool *ret_flag)
{
    struct byre_error err = BYRE_ERROR_INIT;
    uint64_t number;

    if (byre_option_bool(key, value ? value : "on", &number, &err) < 0) {
        byre_complain_error(&err, "--export: ");
        return -1;
    }
    *ret_flag = number;
    return 0;
}

static int read_switch(const char *key, const char *value, struct byre_nbd_offer *offer)
{
    bool read_only;

    if (strcmp(key, "allocation-depth") == 0)
        return read_flag(key, value, &offer->allocation_depth);
    if (strcmp(key, "partitions") == 0)
        return read_flag(key, value, &offer->partitions);
    if (strcmp(key, "snapshots") == 0)
        return read_flag(key, value, &offer->snapshots);
    if (strcmp(key, "read-only") != 0) {
        byre_complain("--export: Invalid parameter '%s'", key);
        return -1;
    }
    if (read_flag(key, value, &read_only) < 0)
        return -1;
    offer->open.writable = !read_only;
    return 0;
}

static int too_long(const char *key, const char *value)
{
    if (strlen(value) <= NBD_NAME_MAX)
        return 0;
    byre_complain("--export: %s '%.40s...' is too long: at most %u bytes", key, value, NBD_NAME_MAX);
    return -1;
}

static int read_value(const char *key, const char *value, struct byre_nbd_offer *offer, names *bitmaps)
{
    if (strcmp(key, "name") == 0) {
        offer->name = value;
        return too_long(key, value);
    }
    if (strcmp(key, "description") == 0) {
        offer->description = value;
        return too_long(key, value);
    }
    if (strcmp(key, "file") == 0) {
        offer->file = value;
    } else if (strcmp(key, "format") == 0) {
        if (!byre_argument_format_known(value)) {
            byre_complain("--export: Unknown driver '%s'", value);
            return -1;
        }
        offer->open.format = value;
    } else if (strcmp(key, "bitmap") == 0) {
        if (vec_push(bitmaps, value) < 0)
            byre_die_no_memory();
    } else if (strcmp(key, "snapshot") == 0) {
        offer->has_snapshot = true;
        offer->snapshot = (struct byre_snapshot_selector){ .any = value };
    } else if (strcmp(key, "partition") == 0) {
        return read_partition(value, &offer->partition);
    } else {
        return read_switch(key, value, offer);
    }
    return 0;
}

static int check_offer(const struct byre_nbd_offer *offer)
{
    if (!offer->name || !offer->file)
        byre_complain("--export: Parameter '%s' is missing", offer->name ? "file" : "name");
    else if (offer->partitions && offer->partition)
        byre_complain("export '%s': partition and partitions cannot be used together", offer->name);
    else if (offer->snapshots && (offer->has_snapshot || offer->partition || offer->temporary))
        byre_complain("export '%s': snapshots cannot be used together with %s", offer->name,
                      offer->has_snapshot ? "snapshot" : offer->partition ? "partition" : "--snapshot");
    else
        return 0;
    return -1;
}

static int plan_export(struct plan *plan, const char *text)
{
    struct byre_nbd_offer offer = defaults(plan->line);
    names bitmaps = VEC_INIT;
    char *member;
    int rc = 0;

    while (rc == 0 && (member = byre_option_list_take(&text))) {
        char *equals = strchr(member, '=');

        if (vec_push(&plan->texts, member) < 0)
            byre_die_no_memory();
        if (equals)
            *equals++ = '\0';
        rc = equals ? read_value(member, equals, &offer, &bitmaps) : read_switch(member, NULL, &offer);
    }
    /* what counts for all exports does not for those that it cannot be for */
    if (plan->line->exports.snapshots && (offer.has_snapshot || offer.partition))
        offer.snapshots = false;
    if (plan->line->exports.partitions && offer.partition)
        offer.partitions = false;
    if (rc == 0)
        rc = check_offer(&offer);
    offer.bitmaps = bitmaps.ptr;
    offer.bitmap_count = bitmaps.len;
    if (vec_push(&plan->lists, bitmaps.ptr) < 0 || (rc == 0 && vec_push(&plan->offers, offer) < 0))
        byre_die_no_memory();
    return rc;
}

static int make_plan(struct plan *plan)
{
    int rc = plan_operand(plan);

    for (size_t i = 0; i < plan->line->exports.exports.len && rc == 0; i++)
        rc = plan_export(plan, plan->line->exports.exports.ptr[i]);
    return rc;
}

static void plan_done(struct plan *plan)
{
    for (size_t i = 0; i < plan->texts.len; i++)
        free(plan->texts.ptr[i]);
    for (size_t i = 0; i < plan->lists.len; i++)
        free(plan->lists.ptr[i]);
    vec_done(&plan->texts);
    vec_done(&plan->lists);
    vec_done(&plan->offers);
}

/* --- opening ----------------------------------------------------------------------------------------------- */

static int complain(const struct plan *plan, const struct byre_nbd_offer_failure *failure,
                    const struct byre_error *err)
{
    if (plan->has_operand && failure->offer == 0)
        return failure->opening && !strstr(err->text, BYRE_SNAPSHOT_FAILED)
                   ? byre_complain_open(err, plan->line->image) : byre_complain_error(err, "%s", "");
    return byre_complain_error(err, "export '%s': ", plan->offers.ptr[failure->offer].name);
}

int byre_nbd_exports_open(const struct byre_nbd_command_line *line, struct byre_nbd_exports *exports,
                          struct byre_nbd_directory **ret_directory)
{
    struct plan plan = { .line = line };
    struct byre_nbd_offer how = defaults(line);
    struct byre_nbd_offer_failure failure;
    struct byre_error err = BYRE_ERROR_INIT;
    int exit_code = make_plan(&plan) < 0 ? 1 : 0;

    if (exit_code == 0 && byre_nbd_offers_add(plan.offers.ptr, plan.offers.len, exports, &failure, &err) < 0)
        exit_code = complain(&plan, &failure, &err);
    plan_done(&plan);
    if (exit_code == 0 && line->exports.directory &&
        byre_nbd_directory_add(line->exports.directory, &how, exports, ret_directory, &err) < 0)
        exit_code = byre_complain_error(&err, "%s", "");
    return exit_code;
}
