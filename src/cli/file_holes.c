/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holes of files, by lseek.  Owns one descriptor a layer, opened when it is first asked for, and the last run
 * it found, so that a long map costs few system calls.
 *
 * Holes tell something only of files whose space was reserved without being written: those that take up clearly less
 * of the medium than their clusters would.  In others a hole is an accident of the last cluster written, and
 * is not looked for, as qemu-img does.
 */
#include "config.h"

#include "cli/file_holes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "byre/disk.h"
#include "cli/message.h"

struct layer_file {
    bool tried;
    int fd;              /* -1: its holes are not looked for */
    uint64_t start, end; /* the last run found */
    bool hole;
};

struct byre_file_holes {
    struct byre_disk *disk;
    unsigned count;
    struct layer_file files[];
};

struct byre_file_holes *byre_file_holes_new(struct byre_disk *disk)
{
    unsigned count = byre_layer_count(disk);
    struct byre_file_holes *holes = calloc(1, sizeof *holes + count * sizeof holes->files[0]);

    if (!holes)
        byre_die_no_memory();
    holes->disk = disk;
    holes->count = count;
    return holes;
}

void byre_file_holes_free(struct byre_file_holes *holes)
{
    for (unsigned i = 0; i < holes->count; i++)
        if (holes->files[i].tried && holes->files[i].fd >= 0)
            close(holes->files[i].fd);
    free(holes);
}

/* Finds the run that `hoff` lies in.  False: the file system does not tell. */
static bool find_run(struct layer_file *file, uint64_t hoff)
{
    off_t data = lseek(file->fd, (off_t)hoff, SEEK_DATA);
    off_t hole;

    if (data < 0 && errno != ENXIO)
        return false;
    file->start = hoff;
    if (data < 0 || (uint64_t)data > hoff) {
        file->hole = true;
        file->end =
            data < 0 ? UINT64_MAX : (uint64_t)data; /* ENXIO: no data up to the end, and none past it */
        return true;
    }
    hole = lseek(file->fd, (off_t)hoff, SEEK_HOLE);
    if (hole < 0 || (uint64_t)hole <= hoff)
        return false;
    file->hole = false;
    file->end = (uint64_t)hole;
    return true;
}

uint64_t byre_file_holes_next(struct byre_file_holes *holes, unsigned layer, uint64_t hoff, uint64_t length,
                              bool *ret_hole)
{
    struct layer_file *file = &holes->files[layer];

    if (!file->tried) {
        file->tried = true;
        file->fd = byre_layer_is_preallocated(holes->disk, layer)
                       ? open(byre_layer_name(holes->disk, layer), O_RDONLY | O_CLOEXEC)
                       : -1;
    }
    if (file->fd < 0 || ((hoff < file->start || hoff >= file->end) && !find_run(file, hoff))) {
        *ret_hole = false;
        return length;
    }
    *ret_hole = file->hole;
    return file->end - hoff < length ? file->end - hoff : length;
}
