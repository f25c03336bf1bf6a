/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target on the files and directories that are given as arguments: for builds without libFuzzer,
 * and for replaying seeds and findings.  Each input is in memory of exactly its size, so that a sanitizer
 * sees a read beyond it.
 *
 * An input at which the program ends, or is ended because it hangs, is named.
 *
 * With --cut each input is also run cut short, each at another place.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX (64L << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;
static bool cut;
static const char none[] = "no input", *current = none;

static int complain(const char *name)
{
    fprintf(stderr, "replay: %s: %s\n", name, strerror(errno));
    return 1;
}

static void name_input(int signal)
{
    static const char text[] = ": replaying it ends here\n";
    ssize_t ignored = write(STDERR_FILENO, current, strlen(current));

    ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    raise(signal);
}

/* Runs the first `length` bytes. */
static int replay_start(const uint8_t *data, size_t length)
{
    uint8_t *start = malloc(length ? length : 1);

    if (!start)
        return complain("memory");
    memcpy(start, data, length);
    LLVMFuzzerTestOneInput(start, length);
    free(start);
    replayed++;
    return 0;
}

static int replay_file(const char *name, size_t size)
{
    FILE *file = fopen(name, "rb");
    uint8_t *data = malloc(size ? size : 1);
    int rc = 0;

    current = name;
    if (!file || !data || fread(data, 1, size, file) != size) {
        rc = complain(name);
    } else {
        rc = replay_start(data, size);
        if (cut)
            rc |= replay_start(data, replayed * 7919u % (size + 1));
    }
    current = none;
    free(data);
    if (file)
        fclose(file);
    return rc;
}

/* A file, or the files of a directory; directories inside are left out. */
static int replay_name(const char *name, int depth)
{
    struct stat st;
    struct dirent *entry;
    DIR *dir;
    int rc = 0;

    if (stat(name, &st) < 0)
        return complain(name);
    if (S_ISREG(st.st_mode) && st.st_size <= INPUT_MAX)
        return replay_file(name, (size_t)st.st_size);
    if (!S_ISDIR(st.st_mode) || depth > 0)
        return 0;
    dir = opendir(name);
    if (!dir)
        return complain(name);
    while ((entry = readdir(dir)) != NULL) {
        char path[4096];

        if (snprintf(path, sizeof path, "%s/%s", name, entry->d_name) < (int)sizeof path)
            rc |= replay_name(path, depth + 1);
    }
    closedir(dir);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct sigaction naming = { .sa_handler = name_input, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER) };
    int rc = 0;

    sigaction(SIGABRT, &naming, NULL);
    sigaction(SIGTERM, &naming, NULL);
    cut = argc > 1 && strcmp(argv[1], "--cut") == 0;
    for (int i = cut ? 2 : 1; i < argc; i++)
        rc |= replay_name(argv[i], 0);
    printf("replayed %u inputs\n", replayed);
    return rc || replayed == 0;
}
