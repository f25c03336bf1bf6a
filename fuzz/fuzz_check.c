/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: the checker, on images in memory.  Whatever the bytes are, a check ends, changes nothing and
 * says the same twice; a repair keeps the header's first fields, and what it reports as left is what the
 * next check finds.  Memory out of proportion is for the fuzzer's own limits to find (-rss_limit_mb,
 * -malloc_limit_mb), time for its -timeout.
 */
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "qcow2/check.h"
#include "store/memory.h"

#define IMAGE_MAX   (1u << 20)
#define HEADER_KEPT 72 /* up to the incompatible bits */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

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

static void check_and_repair(struct byre_store *store, const struct byre_qcow2_header *header,
                             const uint8_t *data, size_t size, unsigned repair)
{
    struct byre_check_result first = { 0 }, second = { 0 }, repaired = { 0 };
    int rc = check(store, header, 0, &first);

    require(check(store, header, 0, &second) == rc);
    require(memcmp(&first, &second, sizeof first) == 0);
    require_bytes(store, data, size, size);
    if (rc < 0)
        return;
    require(check(store, header, repair, &repaired) == 0);
    require_bytes(store, data, size, MIN(size, (size_t)HEADER_KEPT));
    if (repaired.corruptions == 0 && repaired.leaks == 0) {
        require(check(store, header, 0, &second) == 0);
        require(second.corruptions == 0 && second.leaks == 0);
    }
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
