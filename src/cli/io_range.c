/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands of byre io about the open file as a whole, and what is allocated in it.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "byre/info.h"
#include "cli/info_print.h"
#include "cli/io_text.h"
#include "cli/io_transfer.h"
#include "cli/message.h"

enum { ALLOC_COUNT = 512 };

BYRE_IO_RUN(byre_io_flush)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int r = byre_flush(session->disk, &err);

    (void)command;
    (void)argc;
    (void)argv;
    return r < 0 ? byre_io_failed("flush", r, &err) : 0;
}

BYRE_IO_RUN(byre_io_discard)
{
    struct byre_io_report report = { .verb = "discard" };
    struct byre_error err = BYRE_ERROR_INIT;
    double begin = byre_io_now();
    bool quiet = false;
    int letter, r;

    while ((letter = getopt(argc, argv, "Cq")) != -1) {
        switch (letter) {
        case 'C': report.machine = true; break;
        case 'q': quiet = true; break;
        default: return byre_io_usage(command);
        }
    }
    if (optind != argc - 2)
        return byre_io_usage(command);
    if (byre_io_read_size(argv[optind], &report.goff) < 0 ||
        byre_io_read_length(argv[optind + 1], &report.length) < 0)
        return -1;
    r = byre_io_check_range(session, report.goff, report.length, &err);
    if (r == 0 && !session->how.no_discard)
        r = byre_discard(session->disk, report.goff, report.length, &err);
    if (r < 0)
        return byre_io_failed("discard", r, &err);
    report.seconds = byre_io_now() - begin;
    if (!quiet)
        byre_io_print_report(&report);
    return 0;
}

BYRE_IO_RUN(byre_io_truncate)
{
    struct byre_error err = BYRE_ERROR_INIT;
    const char *mode = NULL;
    uint64_t size;
    int letter;

    while ((letter = getopt(argc, argv, "m:")) != -1) {
        if (letter != 'm')
            return byre_io_usage(command);
        mode = optarg;
    }
    if (optind != argc - 1)
        return byre_io_usage(command);
    if (byre_io_read_size(argv[optind], &size) < 0)
        return -1;
    byre_io_async_reap(&session->async, true); /* nothing else may be under way */
    if (byre_truncate(session->disk, size, mode, &err) == 0)
        return 0;
    byre_complain_error(&err, "%s", "");
    return -1;
}

BYRE_IO_RUN(byre_io_length)
{
    char text[BYRE_IO_TEXT_MAX];

    (void)command;
    (void)argc;
    (void)argv;
    printf("%s\n", byre_io_format_size((double)byre_get_size(session->disk), text, sizeof text));
    return 0;
}

/* --- what is allocated in the top image --- */

/* A raw file has no way to leave anything to others. */
static bool is_allocated(const struct byre_io_session *session, const struct byre_extent *extent)
{
    if (strcmp(byre_layer_format(session->disk, 0), "raw") == 0)
        return true;
    return extent->kind != BYRE_EXTENT_HOLE && extent->layer == 0;
}

struct walk {
    const struct byre_io_session *session;
    uint64_t allocated;           /* alloc: bytes */
    uint64_t start, length;       /* map: what is not printed yet */
    bool is_allocated;
};

static int count_extent(void *opaque, const struct byre_extent *extent)
{
    struct walk *walk = opaque;

    if (is_allocated(walk->session, extent))
        walk->allocated += extent->length;
    return 0;
}

BYRE_IO_RUN(byre_io_alloc)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct walk walk = { .session = session };
    uint64_t goff, count = ALLOC_COUNT, size = byre_get_size(session->disk);
    char text[BYRE_IO_TEXT_MAX];
    int r = 0;

    (void)command;
    if (byre_io_read_size(argv[1], &goff) < 0 || (argc == 3 && byre_io_read_size(argv[2], &count) < 0))
        return -1;
    count = goff < size ? MIN(count, size - goff) : 0;
    if (count)
        r = byre_extents(session->disk, goff, count, count_extent, &walk, &err);
    if (r < 0)
        return byre_io_failed("is_allocated", r, &err);
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", walk.allocated, count,
           byre_io_format_size((double)goff, text, sizeof text));
    return 0;
}

static void print_run(struct walk *walk)
{
    char length[BYRE_IO_TEXT_MAX], start[BYRE_IO_TEXT_MAX];

    if (walk->length)
        printf("%s (%#" PRIx64 ") bytes %s at offset %s (0x%" PRIx64 ")\n",
               byre_io_format_size((double)walk->length, length, sizeof length), walk->length,
               walk->is_allocated ? "    allocated" : "not allocated",
               byre_io_format_size((double)walk->start, start, sizeof start), walk->start);
}

static int map_extent(void *opaque, const struct byre_extent *extent)
{
    struct walk *walk = opaque;
    bool allocated = is_allocated(walk->session, extent);

    if (walk->length && walk->is_allocated == allocated) {
        walk->length += extent->length;
        return 0;
    }
    print_run(walk);
    walk->start = extent->goff;
    walk->length = extent->length;
    walk->is_allocated = allocated;
    return 0;
}

BYRE_IO_RUN(byre_io_map)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct walk walk = { .session = session };
    uint64_t size = byre_get_size(session->disk);
    int r = size ? byre_extents(session->disk, 0, size, map_extent, &walk, &err) : 0;

    (void)command;
    (void)argc;
    (void)argv;
    print_run(&walk);
    return r < 0 ? byre_io_failed("map", r, &err) : 0;
}

/* --- info --- */

/* The state of virtual machines lies behind what an L1 table that is just long enough for the disk maps. */
static uint64_t vm_state_offset(const struct byre_info *info)
{
    uint64_t entries = info->cluster_size / (info->extended_l2 ? 16u : 8u);

    return info->cluster_size ? byre_round_up(info->virtual_size, entries * info->cluster_size) : 0;
}

BYRE_IO_RUN(byre_io_info)
{
    struct byre_error err = BYRE_ERROR_INIT;
    char cluster[BYRE_IO_TEXT_MAX], state[BYRE_IO_TEXT_MAX];
    struct byre_info info;

    (void)command;
    (void)argc;
    (void)argv;
    if (byre_info_read(byre_layer_name(session->disk, 0), byre_layer_format(session->disk, 0), true, &info, &err) < 0) {
        byre_complain_error(&err, "%s", "");
        return -1;
    }
    printf("format name: %s\n", info.format);
    printf("cluster size: %s\n", byre_io_format_size((double)info.cluster_size, cluster, sizeof cluster));
    printf("vm state offset: %s\n", byre_io_format_size((double)vm_state_offset(&info), state, sizeof state));
    byre_info_print_specific(&info);
    byre_info_done(&info);
    return 0;
}
