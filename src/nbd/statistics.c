/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tallies, summed and shown.
 */
#include "config.h"

#include "nbd/statistics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nbd/export.h"
#include "nbd/protocol.h"

void byre_nbd_tallies_init(struct byre_nbd_tallies *tallies)
{
    pthread_mutex_init(&tallies->mutex, NULL);
    tallies->first = NULL;
}

void byre_nbd_tallies_done(struct byre_nbd_tallies *tallies)
{
    struct byre_nbd_tally *tally;

    while ((tally = tallies->first)) {
        tallies->first = tally->next;
        free(tally);
    }
    pthread_mutex_destroy(&tallies->mutex);
}

struct byre_nbd_tally *byre_nbd_tallies_get(struct byre_nbd_tallies *tallies, const void *loop)
{
    struct byre_nbd_tally *tally;

    pthread_mutex_lock(&tallies->mutex);
    for (tally = tallies->first; tally && tally->loop != loop; tally = tally->next)
        ;
    if (!tally) {
        tally = calloc(1, sizeof *tally);
        if (tally) {
            tally->loop = loop;
            tally->next = tallies->first;
            tallies->first = tally;
        }
    }
    pthread_mutex_unlock(&tallies->mutex);
    return tally;
}

/* --- showing them ------------------------------------------------------------------------------------------ */

/* The sums of all loops. */
struct sums {
    uint64_t connections, gone, taken, done, errors;
    uint64_t requests[BYRE_NBD_TALLY_TYPES], bytes[BYRE_NBD_TALLY_TYPES];
};

static uint64_t number(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

/* What has begun and not ended: the numbers are not of the same moment. */
static uint64_t between(uint64_t begun, uint64_t ended)
{
    return begun > ended ? begun - ended : 0;
}

static struct sums sum_up(struct byre_nbd_tallies *tallies)
{
    struct sums sums = { 0 };

    pthread_mutex_lock(&tallies->mutex);
    for (const struct byre_nbd_tally *tally = tallies->first; tally; tally = tally->next) {
        sums.gone += number(&tally->gone);
        sums.done += number(&tally->done);
        sums.connections += number(&tally->connections);
        sums.taken += number(&tally->taken);
        sums.errors += number(&tally->errors);
        for (unsigned i = 0; i < BYRE_NBD_TALLY_TYPES; i++) {
            sums.requests[i] += number(&tally->requests[i]);
            sums.bytes[i] += number(&tally->bytes[i]);
        }
    }
    pthread_mutex_unlock(&tallies->mutex);
    return sums;
}

/* A name is bytes: what is no text is shown as "?". */
static void put_name(FILE *out, const char *name)
{
    for (; *name; name++)
        fputc((unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name, out);
}

static void put_export(void *opaque, struct byre_nbd_export *export)
{
    static const char *const types[BYRE_NBD_TALLY_TYPES] = {
        [NBD_CMD_READ] = "read", [NBD_CMD_WRITE] = "write", [NBD_CMD_FLUSH] = "flush", [NBD_CMD_TRIM] = "trim",
        [NBD_CMD_CACHE] = "cache", [NBD_CMD_WRITE_ZEROES] = "zero", [NBD_CMD_BLOCK_STATUS] = "status",
    };
    struct sums sums = sum_up(&export->tallies);
    FILE *out = opaque;

    fputs("export '", out);
    put_name(out, export->name);
    fprintf(out, "': %" PRIu64 " connections (%" PRIu64 " ever), %" PRIu64 " in flight, %" PRIu64 " errors\n",
            between(sums.connections, sums.gone), sums.connections, between(sums.taken, sums.done), sums.errors);
    for (unsigned i = 0; i < BYRE_NBD_TALLY_TYPES; i++) {
        if (types[i] && sums.requests[i])
            fprintf(out, "  %s: %" PRIu64 " requests, %" PRIu64 " bytes\n", types[i], sums.requests[i], sums.bytes[i]);
    }
}

int byre_nbd_statistics_put(const struct byre_nbd_statistics *statistics, struct byre_nbd_exports *exports,
                            char **ret_text)
{
    char since[32];
    struct tm tm;
    size_t size;
    char *text = NULL;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return -errno;
    if (!gmtime_r(&statistics->since, &tm) || !strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", &tm))
        since[0] = '\0';
    fprintf(out, "since %s: %u connections (%" PRIu64 " ever)\n", since, statistics->connections,
            statistics->accepted);
    byre_nbd_exports_each_open(exports, put_export, out);
    if (fclose(out) != 0) {
        free(text);
        return -ENOMEM;
    }
    *ret_text = text;
    return 0;
}
