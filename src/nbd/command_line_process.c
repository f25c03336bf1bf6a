/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options about the process.
 */
#include "config.h"

#include "nbd/command_line_process.h"

#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "cli/message.h"

static void print_version(void)
{
    if (byre_program_is_qemu())
        printf("%s %s (byre %s)\n", byre_program_name(), BYRE_QEMU_VERSION, PACKAGE_VERSION);
    else
        printf("byre-nbd %s\n", PACKAGE_VERSION);
}

int byre_nbd_command_line_once(bool *given, const char *text)
{
    if (*given) {
        byre_complain("%s can only be specified once", text);
        return -1;
    }
    *given = true;
    return 0;
}

static int read_aio(const char *text, struct byre_nbd_command_line *line)
{
    static const char *const modes[] = { "threads", "native", "io_uring" };

    if (byre_nbd_command_line_once(&line->aio_given, "--aio") < 0)
        return -1;
    line->native_aio = strcmp(text, "native") == 0;
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(text, modes[i]) == 0)
            return 0;
    }
    byre_complain("Invalid aio mode '%s'", text);
    return -1;
}

/*
 * "[[enable=]PATTERN][,events=FILE][,file=FILE]": as in a QEMU that was built without trace events, patterns are
 * warned of unless they have wildcards, and files for traces that will never be are refused.
 */
static int read_trace(const char *text)
{
    static const char enable[] = "enable=";

    if (strcmp(text, "help") == 0 || strcmp(text, "?") == 0)
        return 1; /* the list of all events */
    if (strncmp(text, enable, sizeof enable - 1) == 0)
        text += sizeof enable - 1;
    if (strpbrk(text, "=,")) {
        byre_complain("--trace %s: there are no trace events, and no files for them", text);
        return -1;
    }
    if (!strpbrk(text, "*?["))
        byre_complain("warning: trace event '%s' does not exist", text);
    return 0;
}

static void push(byre_nbd_words *words, const char *text)
{
    if (vec_push(words, text) < 0)
        byre_die_no_memory();
}

int byre_nbd_command_line_process(int id, const char *text, struct byre_nbd_command_line *line)
{
    switch (id) {
    case 'c': line->connect = text; break;
    case 'd': line->disconnect = true; break;
    case 'k':
        if (byre_program_is_qemu())
            line->sockets.len = 0; /* the last one counts */
        push(&line->sockets, text);
        break;
    case 'L': line->list = true; break;
    case 'T': return read_trace(text);
    case 'V': print_version(); return 1;
    case OPT_AIO: return read_aio(text, line);
    case OPT_SELINUX_LABEL: line->selinux_label = text; break;
    case OPT_VSOCK: push(&line->vsocks, text); break;
    }
    return 0;
}

/* --- what goes together ------------------------------------------------------------------------------------- */

struct rule {
    bool broken;
    const char *text;
};

static int check_rules(const struct rule *rules, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (rules[i].broken) {
            byre_complain("%s", rules[i].text);
            return -1;
        }
    }
    return 0;
}

static int check_list(const struct byre_nbd_command_line *line, int count)
{
    bool of_device = line->connect || line->disconnect || line->export_named || line->description ||
                     line->allocation_depth || line->bitmaps.len || line->open.format || line->cache_given ||
                     line->aio_given || line->discard_given || byre_nbd_export_arguments_used(&line->exports);
    const struct rule rules[] = {
        { count > 0, "List mode is incompatible with a file name" },
        { line->fork, "List mode is incompatible with forking" },
        { of_device, "List mode is incompatible with per-device settings" },
        { line->vsocks.len > 0 || line->sockets.len > 1, "List mode asks one server, at one socket or port" },
    };

    return check_rules(rules, ARRAY_LEN(rules));
}

static int check_modes(const struct byre_nbd_command_line *line)
{
    bool listens = line->sockets.len || line->bind || line->port || line->vsocks.len;
    bool cached = line->open.cache != BYRE_CACHE_NONE && line->open.cache != BYRE_CACHE_DIRECTSYNC;
    const struct rule rules[] = {
        { line->disconnect && line->connect, "-c and -d are mutually exclusive" },
        { line->connect && line->tls.creds_id, "TLS is not supported with a host device" },
        { line->connect && listens, "a network block device (-c) is served alone: neither -k, -b, -p nor --vsock" },
        { line->native_aio && cached,
          "aio=native was specified, but it requires cache.direct=on, which was not specified." },
        { line->unmap_zeroes && line->discard_ignored,
          "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap" },
    };

    return check_rules(rules, ARRAY_LEN(rules));
}

int byre_nbd_command_line_check_process(struct byre_nbd_command_line *line, int count)
{
    if (line->list)
        return check_list(line, count);
    if (byre_program_is_qemu() && (line->sockets.len || line->connect))
        line->bind = line->port = NULL; /* as qemu-nbd has it */
    return check_modes(line);
}

int byre_nbd_command_line_check_activation(const struct byre_nbd_command_line *line)
{
    const struct rule rules[] = {
        { line->list, "List mode is incompatible with socket activation" },
        { line->connect, "NBD device can't be set when using socket activation" },
        { line->sockets.len > 0, "Unix socket can't be set when using socket activation" },
        { line->bind, "The interface can't be set when using socket activation" },
        { line->port, "TCP port number can't be set when using socket activation" },
        { line->vsocks.len > 0, "vsock can't be set when using socket activation" },
        { line->selinux_label, "SELinux label can't be set when using socket activation" },
    };

    return check_rules(rules, ARRAY_LEN(rules));
}
