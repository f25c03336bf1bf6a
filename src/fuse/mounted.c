/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * /proc/PID/mountinfo, proc(5): its lines, and which of them is that of a path.
 */
#include "config.h"

#include "fuse/mounted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* One line of the table. */
struct line {
    unsigned id;
    struct byre_mounted mounted;
};

typedef bool line_test(const struct line *line, const void *wanted);

/* "\040" and so on, which are the only backslashes there. */
static bool is_escape(const char *text)
{
    return text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' && text[2] <= '7' && text[3] >= '0' &&
           text[3] <= '7';
}

/* Blanks, newlines and backslashes stand there as three octal digits. */
static void unescape(char *text)
{
    char *out = text;

    for (const char *in = text; *in; out++) {
        if (is_escape(in)) {
            *out = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

void byre_mounted_done(struct byre_mounted *mounted)
{
    free(mounted->path);
    free(mounted->type);
    free(mounted->source);
    *mounted = (struct byre_mounted){ NULL };
}

/* "ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [TAG...] - TYPE SOURCE OPTIONS" */
static bool read_line(const char *text, struct line *ret_line)
{
    struct line line = { .id = 0 };
    const char *rest = strstr(text, " - ");

    if (rest && sscanf(text, "%u %*u %u:%u %*s %ms", &line.id, &line.mounted.major, &line.mounted.minor,
                       &line.mounted.path) == 4 &&
        sscanf(rest, " - %ms %ms", &line.mounted.type, &line.mounted.source) == 2) {
        unescape(line.mounted.path);
        unescape(line.mounted.source);
        *ret_line = line;
        return true;
    }
    byre_mounted_done(&line.mounted);
    return false;
}

/* The first line that passes the test. */
static bool find_line(const char *table, line_test *test, const void *wanted, struct byre_mounted *ret_mounted)
{
    FILE *file = fopen(table, "re");
    CLEANUP(free_ptr) char *text = NULL;
    size_t size = 0;
    bool found = false;
    struct line line;

    while (file && !found && getline(&text, &size, file) > 0) {
        if (!read_line(text, &line))
            continue;
        found = test(&line, wanted);
        if (found)
            *ret_mounted = line.mounted;
        else
            byre_mounted_done(&line.mounted);
    }
    if (file)
        fclose(file);
    return found;
}

/* --- the mount at a path ------------------------------------------------------------------------------------- */

static bool has_id(const struct line *line, const void *wanted)
{
    return line->id == *(const unsigned *)wanted;
}

/* Of a file that is open: 0 if it cannot be told, which no mount has. */
static unsigned id_of_mount(int fd)
{
    CLEANUP(free_ptr) char *text = NULL;
    size_t size = 0;
    char name[64];
    unsigned id = 0;
    FILE *file;

    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    file = fopen(name, "re");
    while (file && !id && getline(&text, &size, file) > 0)
        (void)sscanf(text, "mnt_id: %u", &id);
    if (file)
        fclose(file);
    return id;
}

int byre_mounted_find(const char *path, struct byre_mounted *ret_mounted)
{
    CLEANUP(close_fd) int fd = open(path, O_PATH | O_CLOEXEC); /* which asks the mount itself nothing */
    char name[64], real[PATH_MAX] = "";
    struct byre_mounted mounted;
    unsigned id;

    if (fd < 0)
        return -errno;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (readlink(name, real, sizeof real - 1) < 0)
        return -errno;
    id = id_of_mount(fd);
    if (!find_line("/proc/self/mountinfo", has_id, &id, &mounted))
        return -EINVAL;
    if (strcmp(mounted.path, real) != 0) {
        byre_mounted_done(&mounted);
        return -EINVAL;
    }
    *ret_mounted = mounted;
    return 0;
}

/* --- other places -------------------------------------------------------------------------------------------- */

static bool has_device(const struct line *line, const void *wanted)
{
    const struct byre_mounted *mounted = wanted;

    return line->mounted.major == mounted->major && line->mounted.minor == mounted->minor;
}

static void read_command(const char *process, char *command, size_t size)
{
    char name[64];
    FILE *file;

    snprintf(name, sizeof name, "/proc/%.20s/comm", process);
    file = fopen(name, "re");
    if (!file || !fgets(command, (int)size, file))
        command[0] = '\0';
    command[strcspn(command, "\n")] = '\0';
    if (file)
        fclose(file);
}

/* `process` is a name in /proc. */
static bool is_mounted_for(const char *process, const struct byre_mounted *mounted,
                           struct byre_mounted_place *ret_place)
{
    struct byre_mounted found;
    char table[64];

    snprintf(table, sizeof table, "/proc/%.20s/mountinfo", process);
    if (!find_line(table, has_device, mounted, &found))
        return false;
    ret_place->path = found.path;
    ret_place->process = (pid_t)strtol(process, NULL, 10);
    read_command(process, ret_place->command, sizeof ret_place->command);
    found.path = NULL;
    byre_mounted_done(&found);
    return true;
}

bool byre_mounted_elsewhere(const struct byre_mounted *mounted, struct byre_mounted_place *ret_place)
{
    struct dirent *entry;
    bool found = is_mounted_for("self", mounted, ret_place);
    DIR *processes = found ? NULL : opendir("/proc");

    while (processes && !found && (entry = readdir(processes))) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            found = is_mounted_for(entry->d_name, mounted, ret_place);
    }
    if (processes)
        closedir(processes);
    return found;
}
