/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre bench: how long do many requests take.
 */
#include "config.h"

#include "cli/verbs.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byre/bench.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"

enum {
    OPT_FLUSH_INTERVAL = BYRE_OPTION_LONG,
    OPT_NO_DRAIN,
    OPT_PATTERN,
    OPT_WARM_UP,
    OPT_OBJECT,
    OPT_IMAGE_OPTS,
    OPT_ALLOW_BACKING,
};

static const struct byre_option options[] = {
    { 'c', NULL, "COUNT", "number of requests (default 75000)" },
    { 'd', NULL, "DEPTH", "requests that are under way at a time (default 64)" },
    { 'f', NULL, "FMT", "format of the image; by default it is probed" },
    { OPT_FLUSH_INTERVAL, "flush-interval", "N", "flush after every N writes" },
    { 'i', NULL, "AIO", "threads, native or io_uring: what waits for the medium (default io_uring)" },
    { 'n', NULL, NULL, "the same as -i native" },
    { OPT_NO_DRAIN, "no-drain", NULL, "flush while writes are under way" },
    { 'o', NULL, "OFFSET", "where the first request starts (default 0)" },
    { OPT_PATTERN, "pattern", "BYTE", "the byte that is written (default 0)" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { 's', NULL, "SIZE", "bytes of each request (default 4096)" },
    { 'S', NULL, "STEP", "bytes from the start of one request to that of the next (default: SIZE)" },
    { 't', NULL, "CACHE", "cache mode: writeback (default), none or unsafe" },
    { OPT_WARM_UP, "warm-up", "COUNT", "requests before the others, whose time is told apart (default 0)" },
    { 'w', NULL, NULL, "write instead of reading" },
    { 'U', "force-share", NULL, "open the image although another program writes to it" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options: driver=qcow2,file.filename=..." },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct bench_args {
    const char *format;
    enum byre_cache cache;
    bool image_opts, allow_protocol;
    bool native, quiet, force_share, has_step;
    struct byre_bench_options bench;
};

/* A number from 0 to `max`; `what` is for the complaint. */
static int read_number(const char *what, const char *text, unsigned long max, unsigned long *ret_number)
{
    char *end;
    unsigned long number = strtoul(text, &end, 0);

    if (end == text || *end || strchr(text, '-') || number > max)
        return byre_complain("Invalid %s specified", what), -1;
    *ret_number = number;
    return 0;
}

static int read_aio(const char *text, struct bench_args *args)
{
    if (strcmp(text, "threads") == 0)
        args->bench.aio = BYRE_AIO_THREADS;
    else if (strcmp(text, "native") == 0 || strcmp(text, "io_uring") == 0)
        args->bench.aio = BYRE_AIO_IO_URING;
    else
        return byre_complain("Invalid aio option: %s", text), -1;
    args->native = strcmp(text, "native") == 0;
    return 0;
}

static int read_buffer_size(const char *text, struct bench_args *args)
{
    uint64_t size;

    if (byre_argument_size("buffer size", text, &size) < 0)
        return -1;
    if (size > INT_MAX)
        return byre_complain("Invalid buffer size specified. Must be between 0 and %d.", INT_MAX), -1;
    args->bench.buffer_size = (uint32_t)size;
    return 0;
}

static int read_option(int id, const char *argument, struct bench_args *args)
{
    unsigned long number = 0;
    int r = 0;

    switch (id) {
    case 'c': r = read_number("request count", argument, INT_MAX, &number); args->bench.count = number; break;
    case 'd': r = read_number("queue depth", argument, INT_MAX, &number); args->bench.depth = (unsigned)number; break;
    case 'f': args->format = argument; break;
    case 'i': return read_aio(argument, args);
    case 'n': return read_aio("native", args);
    case 'o': return byre_argument_size("offset", argument, &args->bench.offset);
    case 'q': args->quiet = true; break;
    case 's': return read_buffer_size(argument, args);
    case 'S': args->has_step = true; return byre_argument_size("step_size", argument, &args->bench.step);
    case 't': return byre_argument_cache("cache", argument, &args->cache);
    case 'w': args->bench.write = true; break;
    case 'U': args->force_share = true; break;
    case OPT_IMAGE_OPTS: args->image_opts = true; break;
    case OPT_ALLOW_BACKING: r = byre_argument_allow_backing(argument, &args->allow_protocol); break;
    case OPT_FLUSH_INTERVAL:
        r = read_number("flush interval", argument, INT_MAX, &number);
        args->bench.flush_interval = number;
        break;
    case OPT_NO_DRAIN: args->bench.no_drain = true; break;
    case OPT_PATTERN:
        r = read_number("pattern byte", argument, 0xff, &number);
        args->bench.pattern = (uint8_t)number;
        break;
    case OPT_WARM_UP:
        r = read_number("warm-up count", argument, INT_MAX, &number);
        args->bench.warm_up = number;
        break;
    }
    return r;
}

static int check_args(const struct bench_args *args)
{
    const struct byre_bench_options *bench = &args->bench;

    if (bench->flush_interval && !bench->write)
        return byre_complain("--flush-interval is only available in write tests");
    if (bench->flush_interval && bench->flush_interval < bench->depth)
        return byre_complain("Flush interval can't be smaller than depth");
    if (bench->depth < 1 || bench->depth > BYRE_QUEUE_DEPTH_MAX)
        return byre_complain("Invalid queue depth specified: %u is not from 1 to %u", bench->depth,
                             BYRE_QUEUE_DEPTH_MAX);
    if (args->native && args->cache != BYRE_CACHE_NONE)
        return byre_complain("aio=native was specified, but it requires cache.direct=on, which was not specified.");
    return 0;
}

static int bench_disk(const struct bench_args *args, struct byre_disk *disk)
{
    const struct byre_bench_options *bench = &args->bench;
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_bench_times times;

    if (!args->quiet) {
        printf("Sending %" PRIu64 " %s requests, %" PRIu32 " bytes each, %u in parallel (starting at offset %" PRIu64
               ", step size %" PRIu64 ")\n", bench->count, bench->write ? "write" : "read", bench->buffer_size,
               bench->depth, bench->offset, bench->step);
        if (bench->flush_interval)
            printf("Sending flush every %" PRIu64 " requests\n", bench->flush_interval);
        fflush(stdout);
    }
    if (byre_bench(disk, bench, &times, &err) < 0)
        return byre_complain_error(&err, "Failed request: ");
    if (!args->quiet && bench->warm_up)
        printf("Warm-up completed in %.3f seconds.\n", (double)times.warm_up / 1e9);
    if (!args->quiet)
        printf("Run completed in %.3f seconds.\n", (double)times.run / 1e9);
    return 0;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct bench_args args = { .bench = { .count = 75000, .depth = 64, .buffer_size = 4096 } };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_option_parser parser;
    struct byre_open_options open_options;
    struct byre_disk *disk;
    int id, exit_code;

    byre_options_start(&parser, verb, argc, argv);
    while ((id = byre_options_next(&parser)) > 0) {
        if (read_option(id, parser.argument, &args) != 0)
            return 1;
    }
    if (id < 0)
        return parser.exit_code;
    if (argc - parser.operand != 1)
        return byre_complain_usage("Expecting one image file name");
    if (!args.has_step)
        args.bench.step = args.bench.buffer_size;
    if (check_args(&args) != 0)
        return 1;
    open_options = (struct byre_open_options){
        .format = args.format, .cache = args.cache, .writable = args.bench.write, .force_share = args.force_share,
        .protocol_backing = byre_argument_protocol_backing(args.allow_protocol),
        .secrets = byre_objects_secrets(),
    };
    if (byre_argument_open(argv[parser.operand], args.image_opts, &open_options, &disk) < 0)
        return 1;
    exit_code = bench_disk(&args, disk);
    if (byre_close(disk, &err) < 0 && exit_code == 0)
        exit_code = byre_complain_error(&err, "%s", "");
    return exit_code;
}

const struct byre_verb byre_verb_bench = {
    .name = "bench",
    .operands = "FILENAME",
    .summary = "Measures how long requests on a disk image take.",
    .options = options,
    .run = run,
};
