/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Running qemu-img check on bytes in memory.  One thread at a time.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/tempdir.h"
#include "base/tally.h"
#include "effort.h"
#include "qemu_check.h"
#include "store/memory.h"

enum { EVERY = 499, SAMPLES_QUICK = 8, SAMPLES = 40, CODE_LEAKS = 3 };

static struct tempdir tmp;
static struct byre_tally seen; /* hashes of images that were checked */
static uint64_t asked;

static void tidy_up(void)
{
    tempdir_remove(&tmp);
    byre_tally_done(&seen);
}

static int set_up(void)
{
    if (tmp.dir[0])
        return 0;
    if (tempdir_make(&tmp) < 0) {
        tmp.dir[0] = '\0';
        return -1;
    }
    atexit(tidy_up);
    return 0;
}

static uint64_t hash(const uint8_t *bytes, uint64_t length)
{
    uint64_t sum = length, word;

    for (uint64_t at = 0; at < length; at += sizeof word) {
        word = 0;
        memcpy(&word, bytes + at, length - at < sizeof word ? length - at : sizeof word);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
        sum ^= sum >> 29;
    }
    return sum;
}

/* Is this one to be shown? */
static bool is_due(const uint8_t *bytes, uint64_t length)
{
    uint64_t number;

    if (!effort_is_long())
        return asked++ % EVERY == 0 && effort_so_far(EFFORT_QEMU) < effort_of(SAMPLES_QUICK, SAMPLES, 0);
    number = (hash(bytes, length) | BYRE_TALLY_UNIT) & ~(uint64_t)(BYRE_TALLY_UNIT - 1);
    if (byre_tally_count(&seen, number) || byre_tally_reserve(&seen, 1) < 0)
        return false;
    byre_tally_add(&seen, number);
    return true;
}

static int write_file(const char *name, const uint8_t *bytes, uint64_t length)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    ssize_t done = bytes ? 0 : (ssize_t)length;
    int rc = fd < 0 || ftruncate(fd, (off_t)length) < 0 ? -1 : 0;

    while (rc == 0 && (uint64_t)done < length) {
        ssize_t part = write(fd, bytes + done, length - (uint64_t)done);

        if (part < 0)
            rc = -1;
        done += part;
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The exit code of a command, whose output goes to `report`; -1 if it could not be run. */
static int run(const char *command, char *report, size_t room)
{
    FILE *pipe = popen(command, "re");
    size_t length;
    int status;

    if (!pipe)
        return -1;
    length = fread(report, 1, room - 1, pipe);
    report[length] = '\0';
    for (char rest[256]; fread(rest, 1, sizeof rest, pipe) > 0;)
        ;
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int check(const char *flags, const char *name, bool encrypted, char *report, size_t room)
{
    char command[700];
    int code;

    if (encrypted)
        snprintf(command, sizeof command, "exec qemu-img check --object secret,id=s,data=guest %s --image-opts "
                 "driver=qcow2,encrypt.key-secret=s,file.filename='%s' 2>&1", flags, name);
    else
        snprintf(command, sizeof command, "exec qemu-img check -f qcow2 %s '%s' 2>&1", flags, name);
    code = run(command, report, room);
    return code == 0 || (code == CODE_LEAKS && !*flags) ? 0 : -1;
}

#define AT_CRYPT_METHOD 35 /* its last byte */

int qemu_check(const struct byre_store *memory, uint64_t backing_size, bool dirty, char *report, size_t room)
{
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(memory, &length);
    bool encrypted = length > AT_CRYPT_METHOD && bytes[AT_CRYPT_METHOD];
    const char *name;
    int rc;

    if (!is_due(bytes, length))
        return 0;
    snprintf(report, room, "qemu-img could not be run");
    if (set_up() < 0)
        return -1;
    name = tempdir_path(&tmp, "image");
    rc = write_file(name, bytes, length);
    if (rc == 0 && backing_size)
        rc = write_file(tempdir_path(&tmp, "below"), NULL, backing_size);
    if (rc == 0)
        rc = check("", name, encrypted, report, room);
    if (rc < 0 && dirty && check("-r all", name, encrypted, report, room) == 0)
        rc = check("", name, encrypted, report, room);
    effort_count(EFFORT_QEMU, 1);
    return rc;
}
