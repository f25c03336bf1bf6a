/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre convert: copies disks into a new image, or into one that is there.
 */
#include "config.h"

#include "cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/name.h"
#include "byre/convert.h"
#include "byre/create.h"
#include "cli/arguments.h"
#include "cli/create_options.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/progress.h"
#include "cli/snapshot_param.h"

enum {
    OPT_TARGET_IS_ZERO = BYRE_OPTION_LONG,
    OPT_SALVAGE,
    OPT_OBJECT,
    OPT_IMAGE_OPTS,
    OPT_TARGET_IMAGE_OPTS,
    OPT_BITMAPS,
    OPT_SKIP_BROKEN_BITMAPS,
    OPT_ALLOW_BACKING,
};

static const struct byre_option options[] = {
    { 'f', NULL, "FMT", "format of the sources; by default it is probed" },
    { 'O', NULL, "OUTPUT_FMT", "format of the target: qcow2 or raw (default)" },
    { 'o', NULL, "OPTIONS", "format options, name=value separated by commas; help lists them" },
    { 'c', NULL, NULL, "compress the target" },
    { 'B', NULL, "BACKING_FILE", "make the target an overlay of this image" },
    { 'b', NULL, "BACKING_FILE", "the same as -B" },
    { 'F', NULL, "BACKING_FMT", "format of the backing file" },
    { 'n', NULL, NULL, "write into an existing target" },
    { 'S', NULL, "SPARSE_SIZE", "how long a run of zeros must be to become a hole (4k); 0: never" },
    { 'm', NULL, "NUMBER", "work in so many threads; by default one a processor" },
    { 'W', NULL, NULL, "allow writes to the target out of order" },
    { 'p', NULL, NULL, "show progress" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { 't', NULL, "CACHE", "cache mode of the target; by default unsafe" },
    { 'T', NULL, "SRC_CACHE", "cache mode of the sources; by default writeback" },
    { 'U', "force-share", NULL, "open the sources although another program writes to them" },
    { OPT_TARGET_IS_ZERO, "target-is-zero", NULL, "with -n: the target reads as zero" },
    { OPT_SALVAGE, "salvage", NULL, "go on after read errors; what cannot be read becomes zero" },
    { 'C', NULL, NULL, NULL },
    { 'l', NULL, "SNAPSHOT_PARAM", "copy a snapshot: id, name, or snapshot.id=ID,snapshot.name=NAME" },
    { 'r', NULL, "RATE_LIMIT", NULL },
    { OPT_BITMAPS, "bitmaps", NULL, "copy the bitmaps of the source" },
    { OPT_SKIP_BROKEN_BITMAPS, "skip-broken-bitmaps", NULL, "with --bitmaps: leave inconsistent ones out" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "the sources are lists of options: driver=qcow2,file.filename=..." },
    { OPT_TARGET_IMAGE_OPTS, "target-image-opts", NULL, "with -n: the target is a list of options" },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

#define SPARSE_SIZE_MAX (16u << 20)
#define THREADS_MAX 16

struct convert_args {
    char *const *source_names;
    unsigned source_count;
    const char *target_name, *source_format;
    const char *target_format; /* NULL: as the options of the target say */
    const char *backing_file, *backing_format;
    char *option_list; /* owned */
    struct byre_snapshot_param snapshot;
    uint64_t sparse_size;
    unsigned threads;
    const char *source_cache_text, *target_cache;
    enum byre_cache source_cache;
    bool compress, skip_create, progress, quiet, force_share, out_of_order, target_is_zero, salvage;
    bool image_opts, target_image_opts, allow_protocol, bitmaps, skip_broken_bitmaps;
};

/* The disks of one conversion. */
struct convert_disks {
    struct byre_disk **sources; /* source_count, NULL where not opened */
    struct byre_disk *target;
    uint64_t size; /* of all sources */
};

static int read_threads(const char *text, unsigned *ret_threads)
{
    char *end;
    unsigned long n = strtoul(text, &end, 0);

    if (end == text || *end || n < 1 || n > THREADS_MAX) {
        byre_complain("Invalid number of coroutines. Allowed number of coroutines is between 1 and %d",
                      THREADS_MAX);
        return -1;
    }
    *ret_threads = (unsigned)n;
    return 0;
}

static int read_sparse_size(const char *text, uint64_t *ret_size)
{
    if (byre_argument_size("buffer size for sparse output", text, ret_size) < 0)
        return -1;
    if (*ret_size % 512 == 0 && *ret_size <= SPARSE_SIZE_MAX)
        return 0;
    byre_complain(
        "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to %u. "
        "Select 0 to disable sparse detection (fully allocates output).",
        SPARSE_SIZE_MAX);
    return -1;
}

/* One option.  0, or -1 after a complaint. */
static int read_option(int id, const char *argument, struct convert_args *args)
{
    switch (id) {
    case 'f': args->source_format = argument; break;
    case 'O': args->target_format = argument; break;
    case 'c': args->compress = true; break;
    case 'b':
    case 'B': args->backing_file = argument; break;
    case 'F': args->backing_format = argument; break;
    case 'n': args->skip_create = true; break;
    case 'W': args->out_of_order = true; break;
    case 'p': args->progress = true; break;
    case 'q': args->quiet = true; break;
    case 'U': args->force_share = true; break;
    case OPT_TARGET_IS_ZERO: args->target_is_zero = true; break;
    case OPT_SALVAGE: args->salvage = true; break;
    case OPT_BITMAPS: args->bitmaps = true; break;
    case OPT_SKIP_BROKEN_BITMAPS: args->skip_broken_bitmaps = true; break;
    case OPT_IMAGE_OPTS: args->image_opts = true; break;
    case OPT_TARGET_IMAGE_OPTS: args->target_image_opts = true; break;
    case OPT_ALLOW_BACKING: return byre_argument_allow_backing(argument, &args->allow_protocol);
    case 'o': return byre_option_list_append(&args->option_list, argument) == 0 ? 0 : -1;
    case 'S': return read_sparse_size(argument, &args->sparse_size);
    case 'l': return byre_snapshot_param_read(&args->snapshot, argument);
    case 'm': return read_threads(argument, &args->threads);
    case 't': args->target_cache = argument; break;
    case 'T': args->source_cache_text = argument; break;
    }
    return 0;
}

static int read_options(struct byre_option_parser *parser, struct convert_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0)
        if (read_option(id, parser->argument, args) < 0)
            return byre_options_stop(parser, 1);
    return id;
}

/* Options that exclude or need each other, before any file is opened. */
static int check_options(const struct convert_args *args)
{
    if (args->skip_broken_bitmaps && !args->bitmaps)
        return byre_complain("Use of --skip-broken-bitmaps requires --bitmaps");
    if (args->target_is_zero && !args->skip_create)
        return byre_complain("--target-is-zero requires use of -n flag");
    if (args->target_image_opts && !args->skip_create)
        return byre_complain("--target-image-opts requires use of -n flag");
    if (args->skip_create && args->option_list)
        return byre_complain("-o has no effect when skipping image creation");
    if (args->skip_create && args->target_is_zero && args->backing_file)
        return byre_complain("Cannot use --target-is-zero when the destination image has a backing file");
    return 0;
}

/* Opens the source at the snapshot that -l names. */
static int open_snapshot(const struct convert_args *args, const struct byre_open_options *options,
                         struct byre_disk **ret_disk)
{
    struct byre_snapshot_selector selector;
    struct byre_open_options at = *options;
    struct byre_error err = BYRE_ERROR_INIT;
    CLEANUP(free_ptr) char *name = NULL;
    const char *reason;

    if (!byre_snapshot_param_selector(&args->snapshot, &selector))
        return byre_argument_open(args->source_names[0], args->image_opts, options, ret_disk);
    at.snapshot = &selector;
    if (byre_argument_image(args->source_names[0], args->image_opts, args->source_format, &name) < 0)
        return -1;
    if (byre_open(name, &at, ret_disk, &err) == 0)
        return 0;
    reason = strstr(err.text, BYRE_SNAPSHOT_FAILED);
    return reason ? byre_complain("%s", reason) : byre_complain_open(&err, args->source_names[0]);
}

static int open_sources(const struct convert_args *args, struct convert_disks *disks)
{
    struct byre_open_options open_options = {
        .format = args->source_format,
        .cache = args->source_cache,
        .force_share = args->force_share,
        .protocol_backing = byre_argument_protocol_backing(args->allow_protocol),
        .secrets = byre_objects_secrets(),
    };

    for (unsigned i = 0; i < args->source_count; i++) {
        const char *name = args->source_names[i];

        if ((i ? byre_argument_open(name, args->image_opts, &open_options, &disks->sources[i])
               : open_snapshot(args, &open_options, &disks->sources[i])) != 0)
            return 1;
        if (__builtin_add_overflow(disks->size, byre_get_size(disks->sources[i]), &disks->size))
            return byre_complain("%s: the sum of the sizes of the source images is too large", name);
    }
    return 0;
}

/*
 * Puts -B, -F and the size over what the option list says.  With -n, -B says only on what the target stands.
 */
static int merge_options(const struct convert_args *args, const struct convert_disks *disks,
                         struct byre_create_values *values)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_create_values_parse(values, args->option_list, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    byre_create_values_set_number(values, "size", disks->size);
    if (args->skip_create)
        return 0;
    if (args->backing_file && !byre_create_values_set_text(values, "backing_file", args->backing_file))
        return byre_complain("Backing file not supported for file format '%s'", args->target_format);
    if (args->backing_format && !byre_create_values_set_text(values, "backing_fmt", args->backing_format))
        return byre_complain("Backing file format not supported for file format '%s'", args->target_format);
    return 0;
}

/* What makes no sense for this target. */
static int check_target(const struct convert_args *args, const struct byre_create_values *values)
{
    const char *backing = byre_create_values_text(values, "backing_file");
    const char *preallocation = byre_create_values_text(values, "preallocation");

    if (args->source_count > 1 && (backing || args->backing_file))
        return byre_complain("Having a backing file for the target makes no sense when concatenating "
                             "multiple input images");
    if (backing && !byre_create_values_text(values, "backing_fmt"))
        return byre_complain("Use of backing file requires explicit backing format");
    if (args->compress && args->target_format && strcmp(args->target_format, "qcow2") != 0)
        return byre_complain("Compression not supported for this file format");
    if (args->compress && byre_create_values_text(values, "encrypt.format"))
        return byre_complain("Compression and encryption not supported at the same time");
    if (args->compress && preallocation && strcmp(preallocation, "off") != 0)
        return byre_complain("Compression and preallocation not supported at the same time");
    return 0;
}

static int target_options(const struct convert_args *args, struct byre_open_options *ret_options)
{
    *ret_options = (struct byre_open_options){
        .format = args->target_format,
        .cache = BYRE_CACHE_UNSAFE,
        .writable = true,
        .protocol_backing = byre_argument_protocol_backing(args->allow_protocol),
        .secrets = byre_objects_secrets(),
    };
    return byre_argument_cache("cache", args->target_cache, &ret_options->cache) < 0 ? 1 : 0;
}

static int open_existing(const struct convert_args *args, struct convert_disks *disks)
{
    struct byre_open_options open_options;

    if (target_options(args, &open_options) != 0)
        return 1;
    if (byre_argument_open(args->target_name, args->target_image_opts, &open_options, &disks->target) != 0)
        return 1;
    if (args->compress && strcmp(byre_layer_format(disks->target, 0), "qcow2") != 0)
        return byre_complain("Compression not supported for this file format");
    if (byre_get_size(disks->target) < disks->size)
        return byre_complain("output file is smaller than input file");
    return 0;
}

static int create_target(const struct convert_args *args, const struct byre_create_values *values,
                         struct convert_disks *disks)
{
    static const char no_backing[] = "Could not open backing file: ";
    struct byre_open_options open_options;
    struct byre_create_options create_options;
    struct byre_error err = BYRE_ERROR_INIT;

    if (target_options(args, &open_options) != 0)
        return 1;
    if (byre_create_values_apply(values, &create_options, &err) == 0 &&
        byre_create_open(args->target_name, &create_options, &open_options, &disks->target, &err) == 0)
        return 0;
    if (strncmp(err.text, no_backing, sizeof no_backing - 1) == 0)
        return byre_complain_open(&err, args->target_name);
    return byre_complain_error(&err, "%s: error while converting %s: ", args->target_name,
                               args->target_format);
}

static void warn_always(void *opaque, const char *line)
{
    (void)opaque;
    byre_complain("warning: %s", line);
}

static void warn(void *opaque, const char *line)
{
    const struct convert_args *args = opaque;

    if (!args->quiet)
        byre_complain("warning: %s", line);
}

/* Before anything is copied. */
static int check_bitmaps(const struct convert_args *args, const struct convert_disks *disks)
{
    struct byre_convert_options convert_options = { .warn = warn_always };
    struct byre_error err = BYRE_ERROR_INIT;

    if (!args->bitmaps)
        return 0;
    if (args->source_count > 1)
        return byre_complain("Copying bitmaps only possible with single source");
    if (byre_convert_check_bitmaps(disks->sources[0], &convert_options, args->skip_broken_bitmaps, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return 0;
}

static int copy(const struct convert_args *args, bool target_has_backing, struct convert_disks *disks)
{
    struct byre_convert_options convert_options = {
        .compress = args->compress,
        .target_is_zero = args->target_is_zero || (!args->skip_create && !target_has_backing),
        .target_has_backing = target_has_backing,
        .sparse_size = args->sparse_size,
        .threads = args->threads,
        .out_of_order = args->out_of_order,
        .salvage = args->salvage,
        .warn = warn,
        .progress = byre_progress_report,
        .opaque = (void *)args,
    };
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_convert(disks->sources, args->source_count, disks->target, &convert_options, &err) < 0 ||
        (args->bitmaps && byre_convert_bitmaps(disks->sources[0], disks->target, &err) < 0) ||
        (!args->skip_create && byre_seal(disks->target, &err) < 0))
        return byre_complain_error(&err, "%s", "");
    return 0;
}

/* An unsealed target is removed by being closed. */
static int close_target(struct convert_disks *disks)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int r = byre_close(disks->target, &err);

    disks->target = NULL;
    return r < 0 ? byre_complain_error(&err, "%s", "") : 0;
}

/* Has the target a place for the bitmaps of the source? */
static int check_target_bitmaps(const struct convert_disks *disks)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_convert_check_target_bitmaps(disks->sources[0], disks->target, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return 0;
}

static int convert_with(const struct convert_args *args, struct byre_create_values *values,
                        struct convert_disks *disks)
{
    bool target_has_backing;
    int exit_code;

    if (merge_options(args, disks, values) != 0 || check_target(args, values) != 0)
        return 1;
    target_has_backing = args->backing_file || byre_create_values_text(values, "backing_file");
    exit_code = args->skip_create ? open_existing(args, disks) : create_target(args, values, disks);
    if (exit_code == 0 && args->bitmaps)
        exit_code = check_target_bitmaps(disks);
    if (exit_code == 0)
        exit_code = copy(args, target_has_backing, disks);
    if (exit_code == 0)
        exit_code = close_target(disks);
    return exit_code;
}

/* The format of the target, where that of an option list is not known yet. */
static const char *format_of(const struct convert_args *args)
{
    return args->target_format ? args->target_format : "raw";
}

/* Is the target of a format, and of a kind of name, that there is?  `name` is NULL where none was given. */
static int check_target_kind(const struct convert_args *args, const char *name)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!byre_argument_format_known(format_of(args)))
        return byre_complain("Unknown file format '%s'", args->target_format);
    if (name && byre_create_check_name(name, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return 0;
}

static int convert(const struct convert_args *args, struct convert_disks *disks)
{
    struct byre_create_values values;
    int exit_code;

    if (open_sources(args, disks) != 0 || check_bitmaps(args, disks) != 0)
        return 1;
    if (args->target_format && args->skip_create && !byre_argument_format_known(args->target_format))
        return byre_complain("Could not open '%s': Unknown driver '%s'", args->target_name,
                             args->target_format);
    if (check_target_kind(args, args->skip_create ? NULL : args->target_name) != 0)
        return 1;
    /* Without a format nothing is created: the values are only asked for what was not given. */
    byre_create_values_init(&values, format_of(args));
    exit_code = convert_with(args, &values, disks);
    byre_create_values_done(&values);
    return exit_code;
}

static int help(const struct convert_args *args, const char *name)
{
    if (check_target_kind(args, name) != 0)
        return 1;
    byre_create_options_help(format_of(args), name != NULL);
    return 0;
}

static int convert_and_close(const struct convert_args *args)
{
    struct convert_disks disks = { .sources = calloc(args->source_count, sizeof disks.sources[0]) };
    int exit_code;

    if (!disks.sources)
        byre_die_no_memory();
    byre_progress_start(byre_progress_choose(args->progress, args->quiet), "convert");
    exit_code = convert(args, &disks);
    byre_close(disks.target, NULL); /* there is one only after a failure that was reported */
    byre_progress_stop(exit_code == 0);
    for (unsigned i = 0; i < args->source_count; i++)
        byre_close(disks.sources[i], NULL); /* nothing was written */
    free(disks.sources);
    return exit_code;
}

static int run_with(struct byre_option_parser *parser, struct convert_args *args)
{
    int count;

    if (read_options(parser, args) < 0)
        return parser->exit_code;
    if (!args->target_format && !args->target_image_opts)
        args->target_format = "raw";
    count = parser->argc - parser->operand;
    if (byre_option_list_wants_help(args->option_list))
        return help(args, count > 1 ? parser->argv[parser->argc - 1] : NULL);
    if (check_options(args) != 0)
        return 1;
    if (count < 2)
        return byre_complain("Must specify image file name");
    if (byre_argument_source_cache(args->source_cache_text, &args->source_cache) < 0)
        return 1;
    if (count > 2 && (args->snapshot.word || args->snapshot.list))
        return byre_complain("No support for concatenating multiple snapshot");
    args->source_names = parser->argv + parser->operand;
    args->source_count = (unsigned)count - 1;
    args->target_name = parser->argv[parser->argc - 1];
    return convert_and_close(args);
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct convert_args args = {
        .sparse_size = 4096,
        .source_cache = BYRE_CACHE_WRITEBACK,
    };
    struct byre_option_parser parser;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    exit_code = run_with(&parser, &args);
    free(args.option_list);
    byre_snapshot_param_done(&args.snapshot);
    return exit_code;
}

const struct byre_verb byre_verb_convert = {
    .name = "convert",
    .operands = "FILENAME... OUTPUT_FILENAME",
    .summary = "Copies disk images into a new image.",
    .options = options,
    .run = run,
};
