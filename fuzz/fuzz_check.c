/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: the checker, on images in memory.  Whatever the bytes are, a check ends, changes nothing and
 * says the same twice; a repair keeps the header's first fields, and an image that it calls right is right, with
 * nothing left for a second repair.  Memory out of proportion is for the fuzzer's own limits to find
 * (-rss_limit_mb, -malloc_limit_mb), time for its -timeout.
 */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "fuzz/require.h"
#include "qcow2/check.h"
#include "store/memory.h"

#define IMAGE_MAX   (1u << 20)
#define HEADER_KEPT 48 /* up to the refcount table */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_line(void *opaque, const char *line)
{
    uint64_t *lines = opaque;

    require(line[0] != '\0');
    ++*lines;
}

static int check(struct byre_store *store, const struct byre_qcow2_header *header, unsigned repair,
                 struct byre_check_result *result)
{
    struct byre_error err = BYRE_ERROR_INIT;
    uint64_t lines = 0;
    struct byre_check_options options = { .report = take_line, .opaque = &lines };
    int rc = byre_qcow2_check(store, header, repair, &options, result, &err);

    if (rc < 0)
        require(err.code == rc && err.text[0] != '\0');
    else if (result->corruptions || result->leaks || result->check_errors)
        require(lines > 0);
    return rc;
}

static void require_bytes(const struct byre_store *store, const uint8_t *data, size_t size, size_t same)
{
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(store, &length);

    require(length >= size && memcmp(bytes, data, same) == 0);
}

/* The repair has changed the header: what it is now is checked, and repaired again. */
static void check_repaired(struct byre_store *store, unsigned repair)
{
    struct byre_check_result result = { 0 };
    struct byre_qcow2_header header;
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(store, &length);

    require(byre_qcow2_header_parse(bytes, (size_t)length, &header, NULL) == 0);
    require(check(store, &header, 0, &result) == 0);
    require(result.corruptions == 0 && result.leaks == 0);
    require(check(store, &header, repair, &result) == 0);
    require(result.corruptions_fixed == 0 && result.leaks_fixed == 0);
    byre_qcow2_header_done(&header);
}

static void check_and_repair(struct byre_store *store, const struct byre_qcow2_header *header,
                             const uint8_t *data, size_t size, unsigned repair)
{
    struct byre_check_result first = { 0 }, second = { 0 }, repaired = { 0 };
    int rc = check(store, header, 0, &first);

    require(check(store, header, 0, &second) == rc);
    require(memcmp(&first, &second, sizeof first) == 0);
    require_bytes(store, data, size, size);
    rc = check(store, header, repair, &repaired);
    if (rc == 0)
        require_bytes(store, data, size, MIN(size, (size_t)HEADER_KEPT));
    if (rc == 0 && repaired.corruptions == 0 && repaired.leaks == 0)
        check_repaired(store, repair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct byre_qcow2_header header;
    struct byre_store *store;

    if (size > IMAGE_MAX || byre_qcow2_header_parse(data, size, &header, NULL) < 0)
        return 0;
    for (unsigned repair = BYRE_REPAIR_LEAKS; repair <= BYRE_REPAIR_ERRORS; repair <<= 1) {
        require(byre_memory_new(data, size, &store, NULL) == 0);
        check_and_repair(store, &header, data, size, repair);
        byre_store_close(store);
    }
    byre_qcow2_header_done(&header);
    return 0;
}
