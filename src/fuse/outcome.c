/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file in memory that tells how a mount ended.  It has no name that could be left behind, and whoever may not look
 * into this process cannot read it.
 */
#include "config.h"

#include "fuse/outcome.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuse/attribute.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8u /* Linux 6.3, where vm.memfd_noexec can demand it */
#endif

/* Memory alone can be short; what was not written reads as no end in good order. */
static void put(int fd, const char *bytes, size_t length, off_t at)
{
    ssize_t ignored = pwrite(fd, bytes, length, at);

    (void)ignored;
}

int byre_outcome_new(struct byre_error *err)
{
    int fd = memfd_create(BYRE_OUTCOME_NAME, MFD_CLOEXEC | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(BYRE_OUTCOME_NAME, MFD_CLOEXEC);
    if (fd < 0)
        return byre_error_set_errno(err, -errno, "Failed to create a file in memory");
    byre_outcome_set(fd, BYRE_OUTCOME_SERVING);
    return fd;
}

void byre_outcome_set(int fd, char state)
{
    if (fd >= 0)
        put(fd, &state, 1, 0);
}

void byre_outcome_tell(int fd, const char *text)
{
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;

    if (end < 1)
        return;
    put(fd, text, strlen(text), end);
    put(fd, "\n", 1, end + (off_t)strlen(text));
}
