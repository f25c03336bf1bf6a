/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands read, readv, write, writev, aio_read, aio_write and aio_flush of byre io: their options.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/io_text.h"
#include "cli/io_transfer.h"
#include "cli/message.h"

enum { WRITE_PATTERN = 0xcd, SECTOR = 512 };

/* The options of all these commands, as they were given. */
struct options {
    bool vm_state, compressed, machine, fua, invalid, no_fallback, quiet, unmap, dump, zeroes;
    bool has_pattern, has_start, has_length;
    uint8_t pattern;
    uint64_t start, length; /* -s and -l of a read */
    const char *source;     /* -s of a write */
};

/* An option whose argument is looked at: 0, or -1 after a complaint. */
static int read_argument(struct options *options, int letter, bool write)
{
    switch (letter) {
    case 'P':
        options->has_pattern = true;
        return byre_io_read_pattern(optarg, &options->pattern);
    case 'l':
        options->has_length = true;
        return byre_io_read_size(optarg, &options->length);
    case 's':
        if (write) {
            options->source = optarg;
            return 0;
        }
        options->has_start = true;
        return byre_io_read_size(optarg, &options->start);
    }
    return 0;
}

/* Reads the options that are in `letters`. */
static int read_options(const struct byre_io_command *command, const char *letters, bool write, int argc,
                        char **argv, struct options *options)
{
    int letter;

    *options = (struct options){ 0 };
    while ((letter = getopt(argc, argv, letters)) != -1) {
        switch (letter) {
        case 'b': options->vm_state = true; break;
        case 'c': options->compressed = true; break;
        case 'C': options->machine = true; break;
        case 'f': options->fua = true; break;
        case 'i': options->invalid = true; break;
        case 'n': options->no_fallback = true; break;
        case 'p': break;
        case 'q': options->quiet = true; break;
        case 'u': options->unmap = true; break;
        case 'v': options->dump = true; break;
        case 'z': options->zeroes = true; break;
        case '?': return byre_io_usage(command);
        default:
            if (read_argument(options, letter, write) < 0)
                return -1;
        }
    }
    return 0;
}

static int say(const char *text)
{
    printf("%s\n", text);
    return -1;
}

static struct byre_io_transfer new_transfer(struct byre_io_session *session, const struct options *options,
                                            const char *name, bool write)
{
    bool discards = !session->how.no_discard;

    return (struct byre_io_transfer){
        .session = session,
        .write = write,
        .zeroes = options->zeroes,
        .compressed = options->compressed && !options->zeroes,
        .vm_state = options->vm_state,
        .flags = (options->fua ? BYRE_WRITE_FUA : 0) | (options->no_fallback ? BYRE_WRITE_ZEROES_NO_FALLBACK : 0) |
                 (options->unmap && discards ? BYRE_WRITE_ZEROES_UNMAP : 0),
        .quiet = options->quiet,
        .machine = options->machine,
        .dump = options->dump,
        .check = !write && options->has_pattern,
        .pattern = options->pattern,
        .name = name,
    };
}

/* Offset and one length. */
static int read_range(struct byre_io_transfer *transfer, char **words)
{
    if (byre_io_read_size(words[0], &transfer->goff) < 0)
        return -1;
    return byre_io_read_length(words[1], &transfer->length);
}

/* A buffer for the whole length, as a vector of one. */
static void set_buffer(struct byre_io_transfer *transfer, uint8_t pattern)
{
    transfer->buffer = byre_io_buffer_new(transfer->session, transfer->length, pattern);
    transfer->iov = malloc(sizeof *transfer->iov);
    if (!transfer->iov)
        byre_die_no_memory();
    *transfer->iov = (struct iovec){ transfer->buffer.bytes, transfer->length };
    transfer->iov_count = 1;
}

/* --- one buffer --- */

static int check_sectors(const struct byre_io_transfer *transfer)
{
    if (transfer->goff % SECTOR) {
        printf("%" PRIu64 " is not a sector-aligned value for 'offset'\n", transfer->goff);
        return -1;
    }
    if (transfer->length % SECTOR) {
        printf("%" PRIu64 " is not a sector-aligned value for 'count'\n", transfer->length);
        return -1;
    }
    return 0;
}

/* Which bytes of a read are checked. */
static int set_check(struct byre_io_transfer *transfer, const struct options *options)
{
    transfer->check_start = options->start;
    transfer->check_length = options->length;
    if (!options->has_length)
        transfer->check_length = transfer->length > options->start ? transfer->length - options->start : 0;
    if (options->start > transfer->length || transfer->check_length > transfer->length - options->start)
        return say("pattern verification range exceeds end of read data");
    return 0;
}

BYRE_IO_RUN(byre_io_read)
{
    struct byre_io_transfer transfer;
    struct options options;

    if (read_options(command, "bCl:pP:qs:v", false, argc, argv, &options) < 0)
        return -1;
    if (optind != argc - 2)
        return byre_io_usage(command);
    transfer = new_transfer(session, &options, "read", false);
    if (read_range(&transfer, argv + optind) < 0)
        return -1;
    if (!options.has_pattern && (options.has_length || options.has_start))
        return byre_io_usage(command);
    if (set_check(&transfer, &options) < 0)
        return -1;
    if (options.vm_state && check_sectors(&transfer) < 0)
        return -1;
    set_buffer(&transfer, 0xab);
    byre_io_transfer_run(&transfer);
    return byre_io_transfer_report(&transfer);
}

static int check_write(const struct options *options)
{
    if (options->vm_state && options->zeroes)
        return say("-b and -z cannot be specified at the same time");
    if (options->fua && (options->vm_state || options->compressed))
        return say("-f and -b or -c cannot be specified at the same time");
    if (options->no_fallback && !options->zeroes)
        return say("-n requires -z to be specified");
    if (options->unmap && !options->zeroes)
        return say("-u requires -z to be specified");
    if (options->zeroes + options->has_pattern + (options->source != NULL) > 1)
        return say("Only one of -z, -P, and -s can be specified at the same time");
    return 0;
}

BYRE_IO_RUN(byre_io_write)
{
    struct byre_io_transfer transfer;
    struct options options;

    if (read_options(command, "bcCfnpP:qs:uz", true, argc, argv, &options) < 0)
        return -1;
    if (optind != argc - 2)
        return byre_io_usage(command);
    if (check_write(&options) < 0)
        return -1;
    transfer = new_transfer(session, &options, "write", true);
    if (read_range(&transfer, argv + optind) < 0)
        return -1;
    if ((options.vm_state || options.compressed) && check_sectors(&transfer) < 0)
        return -1;
    if (!transfer.zeroes)
        set_buffer(&transfer, options.has_pattern ? options.pattern : WRITE_PATTERN);
    if (options.source && byre_io_buffer_fill(&transfer.buffer, options.source) < 0) {
        byre_io_transfer_done(&transfer);
        return -1;
    }
    byre_io_transfer_run(&transfer);
    return byre_io_transfer_report(&transfer);
}

/* --- vectors --- */

/* Offset and any number of lengths. */
static int read_vector(struct byre_io_transfer *transfer, char **words, int count, uint8_t pattern)
{
    if (byre_io_read_size(words[0], &transfer->goff) < 0)
        return -1;
    transfer->iov_count = count - 1;
    if (byre_io_buffer_vector(transfer->session, words + 1, count - 1, pattern, &transfer->buffer,
                              &transfer->iov) < 0)
        return -1;
    transfer->length = transfer->check_length = transfer->buffer.length;
    return 0;
}

BYRE_IO_RUN(byre_io_readv)
{
    struct byre_io_transfer transfer;
    struct options options;

    if (read_options(command, "CP:qv", false, argc, argv, &options) < 0)
        return -1;
    if (optind > argc - 2)
        return byre_io_usage(command);
    transfer = new_transfer(session, &options, "readv", false);
    if (read_vector(&transfer, argv + optind, argc - optind, 0xab) < 0)
        return -1;
    byre_io_transfer_run(&transfer);
    return byre_io_transfer_report(&transfer);
}

BYRE_IO_RUN(byre_io_writev)
{
    struct byre_io_transfer transfer;
    struct options options;

    if (read_options(command, "CfP:q", true, argc, argv, &options) < 0)
        return -1;
    if (optind > argc - 2)
        return byre_io_usage(command);
    transfer = new_transfer(session, &options, "writev", true);
    if (read_vector(&transfer, argv + optind, argc - optind,
                    options.has_pattern ? options.pattern : WRITE_PATTERN) < 0)
        return -1;
    byre_io_transfer_run(&transfer);
    return byre_io_transfer_report(&transfer);
}

/* --- in workers --- */

struct async_transfer {
    struct byre_io_request request; /* first */
    struct byre_io_transfer transfer;
};

static void work(struct byre_io_request *request)
{
    byre_io_transfer_run(&((struct async_transfer *)request)->transfer);
}

static void report(struct byre_io_request *request)
{
    (void)byre_io_transfer_report(&((struct async_transfer *)request)->transfer);
    free(request);
}

/* Takes the transfer over. */
static int start(struct byre_io_transfer *transfer)
{
    struct async_transfer *async = calloc(1, sizeof *async);

    if (!async)
        byre_die_no_memory();
    *async = (struct async_transfer){ { .work = work, .report = report }, *transfer };
    if (byre_io_async_start(&transfer->session->async, &async->request) == 0)
        return 0;
    byre_io_transfer_done(transfer);
    free(async);
    return -1;
}

BYRE_IO_RUN(byre_io_aio_read)
{
    struct byre_io_transfer transfer;
    struct options options;

    if (read_options(command, "CiP:qv", false, argc, argv, &options) < 0)
        return -1;
    if (options.invalid) {
        printf("injecting invalid read request\n");
        return 0;
    }
    if (optind > argc - 2)
        return byre_io_usage(command);
    transfer = new_transfer(session, &options, "readv", false);
    if (read_vector(&transfer, argv + optind, argc - optind, 0xab) < 0)
        return -1;
    return start(&transfer);
}

static int aio_write_zeroes(struct byre_io_transfer *transfer, int count, char **words)
{
    if (count != 2)
        return say("-z supports only a single length parameter");
    return read_range(transfer, words) < 0 ? -1 : start(transfer);
}

BYRE_IO_RUN(byre_io_aio_write)
{
    struct byre_io_transfer transfer;
    struct options options;

    if (read_options(command, "CfiP:quz", true, argc, argv, &options) < 0)
        return -1;
    if (options.invalid) {
        printf("injecting invalid write request\n");
        return 0;
    }
    if (optind > argc - 2)
        return byre_io_usage(command);
    if (options.unmap && !options.zeroes)
        return say("-u requires -z to be specified");
    transfer = new_transfer(session, &options, "aio_write", true);
    if (options.zeroes)
        return aio_write_zeroes(&transfer, argc - optind, argv + optind);
    if (read_vector(&transfer, argv + optind, argc - optind,
                    options.has_pattern ? options.pattern : WRITE_PATTERN) < 0)
        return -1;
    return start(&transfer);
}

BYRE_IO_RUN(byre_io_aio_flush)
{
    (void)command;
    (void)argc;
    (void)argv;
    byre_io_async_reap(&session->async, true);
    return 0;
}
