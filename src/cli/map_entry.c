/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From extents to the entries of a map, and their JSON, laid out as by qemu-img.
 */
#include "config.h"

#include "cli/map_entry.h"

#include <inttypes.h>
#include <stdio.h>

struct byre_map_entry byre_map_entry_of(const struct byre_disk *disk, const struct byre_extent *extent)
{
    return (struct byre_map_entry){
        .start = extent->goff,
        .length = extent->length,
        .hoff = extent->hoff,
        .depth = extent->layer,
        .present = extent->kind != BYRE_EXTENT_HOLE,
        .zero = extent->kind == BYRE_EXTENT_HOLE || extent->kind == BYRE_EXTENT_ZERO || extent->reserved,
        .data = extent->kind == BYRE_EXTENT_DATA || extent->kind == BYRE_EXTENT_COMPRESSED,
        .has_offset = (extent->kind == BYRE_EXTENT_DATA || extent->allocated) &&
                      !byre_layer_is_encrypted(disk, extent->layer),
    };
}

bool byre_map_entry_join(struct byre_map_entry *held, const struct byre_map_entry *next)
{
    if (!held->length || held->depth != next->depth || held->present != next->present || held->zero != next->zero ||
        held->data != next->data || held->has_offset != next->has_offset ||
        (held->has_offset && held->hoff + held->length != next->hoff))
        return false;
    held->length += next->length;
    return true;
}

static const char *word(bool value)
{
    return value ? "true" : "false";
}

size_t byre_map_entry_to_json(const struct byre_disk *disk, const struct byre_map_entry *e, bool first,
                              char text[BYRE_MAP_ENTRY_MAX])
{
    char offset[40] = "";

    if (e->has_offset)
        snprintf(offset, sizeof offset, ", \"offset\": %" PRIu64, e->hoff + byre_layer_file_offset(disk, e->depth));
    return (size_t)snprintf(text, BYRE_MAP_ENTRY_MAX,
                            "%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
                            ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s%s}",
                            first ? "[" : ",\n", e->start, e->length, e->depth, word(e->present), word(e->zero),
                            word(e->data), offset);
}
