/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-nbd's options.
 */
#include "config.h"

#include "nbd/command_line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "nbd/command_line_process.h"
#include "nbd/protocol.h"

#define NAME_MAX_TEXT "4096"
#define CLIENTS_MAX   1000000u

enum {
    OPT_OBJECT = BYRE_OPTION_LONG,
    OPT_CACHE,
    OPT_DISCARD,
    OPT_DETECT_ZEROES,
    OPT_IMAGE_OPTS,
    OPT_FORK,
    OPT_PID_FILE,
    OPT_HANDSHAKE_LIMIT,
    OPT_ALLOW_BACKING,
    OPT_TLS,
    OPT_TLS_AUTHZ,
    OPT_TLS_CREDS,
    OPT_TLS_HOSTNAME,
};

static const struct byre_option options[] = {
    { 'A', "allocation-depth", NULL, "offer the metadata context qemu:allocation-depth" },
    { 'b', "bind", "HOST", "the address to listen at (default: all of this machine)" },
    { 'B', "bitmap", "NAME", "offer the dirty bitmap qemu:dirty-bitmap:NAME; may be repeated" },
    { 'D', "description", "TEXT", "what the export is, for people" },
    { 'e', "shared", "NUM", "clients at a time (default: 1; 0: any number)" },
    { 'f', "format", "FMT", "format of the image (default: found out)" },
    { 'k', "socket", "PATH", "listen at a UNIX socket; may be repeated" },
    { 'n', "nocache", NULL, "the same as --cache=none" },
    { 'p', "port", "PORT", "the port to listen at (default: 10809)" },
    { 'r', "read-only", NULL, "the export cannot be written to" },
    { 't', "persistent", NULL, "go on when the last client has gone" },
    { 'v', "verbose", NULL, "tell of each client that is sent away" },
    { 'x', "export-name", "NAME", "name of the export (default: the empty one)" },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "follow names in images that are no paths: 'protocol'" },
    { OPT_CACHE, "cache", "MODE", "writeback (default), none, writethrough, directsync, unsafe" },
    { OPT_DETECT_ZEROES, "detect-zeroes", "MODE", "what to do with written zeros: off (default), on, unmap" },
    { OPT_DISCARD, "discard", "MODE", "what to do with trims: ignore (off) or unmap (on, default)" },
    BYRE_NBD_EXPORT_OPTIONS
    { OPT_FORK, "fork", NULL, "go to the background once clients can come" },
    { OPT_HANDSHAKE_LIMIT, "handshake-limit", "SECONDS", "that a handshake may take (default: 10; 0: any)" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "the image is given by options" },
    { OPT_OBJECT, "object", "OBJECTDEF", "define a secret, TLS credentials, or who may use the server" },
    { OPT_PID_FILE, "pid-file", "PATH", "write the process id to this file" },
    BYRE_NBD_OPTIONS_PROCESS,
    { OPT_TLS, "tls", "MODE", "with --tls-creds: require (default), or allow clients without TLS, too" },
    { OPT_TLS_AUTHZ, "tls-authz", "ID", "the object that knows which clients may use the server" },
    { OPT_TLS_CREDS, "tls-creds", "ID", "encrypt with TLS, by the credentials with this id" },
    { OPT_TLS_HOSTNAME, "tls-hostname", "NAME", "for listing exports: the name in the server's certificate" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

const struct byre_verb byre_verb_serve = {
    .name = "serve",
    .operands = "[IMAGE]",
    .summary = "Serves a disk over the NBD protocol.",
    .options = options,
};

static int read_discard(const char *text, struct byre_nbd_command_line *line)
{
    static const char *const ignore[] = { "ignore", "off" }, *const unmap[] = { "unmap", "on" };

    if (byre_nbd_command_line_once(&line->discard_given, "--discard") < 0)
        return -1;
    for (unsigned i = 0; i < 2; i++) {
        if (strcmp(text, ignore[i]) != 0 && strcmp(text, unmap[i]) != 0)
            continue;
        line->discard_ignored = strcmp(text, ignore[i]) == 0;
        return 0;
    }
    byre_complain("Invalid discard mode '%s'", text);
    return -1;
}

static void set_discard(struct byre_nbd_command_line *line)
{
    if (!line->discard_given && !line->discard_ignored)
        return;
    snprintf(line->node_options, sizeof line->node_options, "discard=%s", line->discard_ignored ? "ignore" : "unmap");
    line->open.options = line->node_options;
}

static int read_cache(const char *text, struct byre_nbd_command_line *line)
{
    if (byre_nbd_command_line_once(&line->cache_given, "-n and --cache") < 0)
        return -1;
    return byre_argument_cache("cache", text, &line->open.cache);
}

static int read_detect_zeroes(const char *text, enum byre_detect_zeroes *ret_mode)
{
    static const char *const modes[] = { "off", "on", "unmap" };

    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(text, modes[i]) == 0) {
            *ret_mode = (enum byre_detect_zeroes)i;
            return 0;
        }
    }
    byre_complain("Failed to parse detect_zeroes mode: invalid parameter value: %s", text);
    return -1;
}

static int read_name(const char *what, const char *text, const char **ret_name)
{
    if (strlen(text) > NBD_NAME_MAX) {
        byre_complain("%s '%.40s...' is too long: at most " NAME_MAX_TEXT " bytes", what, text);
        return -1;
    }
    *ret_name = text;
    return 0;
}

static int read_port(const char *text, struct byre_nbd_command_line *line)
{
    unsigned number;

    line->port = text;
    return byre_argument_number("port", text, 10, 65535, &number);
}

static int read_long(int id, const char *text, struct byre_nbd_command_line *line)
{
    switch (id) {
    case OPT_ALLOW_BACKING: return byre_argument_allow_backing(text, &line->open.protocol_backing);
    case OPT_CACHE: return read_cache(text, line);
    case OPT_DETECT_ZEROES: return read_detect_zeroes(text, &line->open.detect_zeroes);
    case OPT_DISCARD: return read_discard(text, line);
    case OPT_FORK: line->fork = true; break;
    case OPT_HANDSHAKE_LIMIT: return byre_argument_number("handshake limit", text, 10, 86400, &line->handshake_seconds);
    case OPT_IMAGE_OPTS: line->image_opts = true; break;
    case OPT_PID_FILE: line->pid_file = text; break;
    case OPT_TLS: line->tls.mode = text; break;
    case OPT_TLS_AUTHZ: line->tls.authz_id = text; break;
    case OPT_TLS_CREDS: line->tls.creds_id = text; break;
    case OPT_TLS_HOSTNAME: line->tls.hostname = text; break;
    default: return byre_nbd_command_line_process(id, text, line);
    }
    return 0;
}

static int read_option(int id, const char *text, struct byre_nbd_command_line *line)
{
    switch (id) {
    case 'A': line->allocation_depth = true; break;
    case 'B':
        if (vec_push(&line->bitmaps, text) < 0)
            byre_die_no_memory();
        break;
    case 'b': line->bind = text; break;
    case 'D': return read_name("export description", text, &line->description);
    case 'e': return byre_argument_number("shared device number", text, 10, CLIENTS_MAX, &line->clients_max);
    case 'f': line->open.format = text; break;
    case 'n': return read_cache("none", line);
    case 'p': return read_port(text, line);
    case 'r': line->read_only = true; break;
    case 't': line->persistent = true; break;
    case 'v': line->verbose = true; break;
    case 'x': line->export_named = true; return read_name("export name", text, &line->export_name);
    default: return byre_nbd_export_argument(&line->exports, id, text) ? 0 : read_long(id, text, line);
    }
    return 0;
}

void byre_nbd_command_line_done(struct byre_nbd_command_line *line)
{
    vec_done(&line->bitmaps);
    vec_done(&line->sockets);
    vec_done(&line->vsocks);
    byre_nbd_export_arguments_done(&line->exports);
}

static int check(const struct byre_nbd_command_line *line)
{
    if (line->open.format && !byre_argument_format_known(line->open.format)) {
        byre_complain("Unknown driver '%s'", line->open.format);
        return -1;
    }
    return 0;
}

/* One image, unless there are other exports, or there is nothing to be served. */
static bool operands_fit(const struct byre_nbd_command_line *line, int count)
{
    if (line->list)
        return count == 0;
    return count == 1 || (count == 0 && !line->disconnect && byre_nbd_export_arguments_given(&line->exports));
}

int byre_nbd_command_line_read(int argc, char **argv, struct byre_nbd_command_line *ret_line, int *ret_exit_code)
{
    struct byre_nbd_command_line *line = ret_line;
    struct byre_option_parser parser;
    int id, rc;

    *line = (struct byre_nbd_command_line){ .clients_max = 1, .handshake_seconds = 10, .export_name = "" };
    byre_nbd_objects_know();
    byre_options_start(&parser, &byre_verb_serve, argc, argv);
    while ((id = byre_options_next(&parser)) > 0) {
        rc = read_option(id, parser.argument, line);
        if (rc)
            id = byre_options_stop(&parser, rc < 0);
        if (id < 0)
            break;
    }
    *ret_exit_code = id < 0 ? parser.exit_code : 1;
    if (id < 0)
        return -1;
    line->unmap_zeroes = line->open.detect_zeroes == BYRE_DETECT_ZEROES_UNMAP;
    line->discard_ignored = line->discard_ignored || (byre_program_is_qemu() && !line->discard_given);
    if (byre_nbd_command_line_check_process(line, argc - parser.operand) < 0)
        return -1;
    if (!operands_fit(line, argc - parser.operand)) {
        byre_complain_usage("Expecting the name of one image");
        return -1;
    }
    line->image = argv[parser.operand]; /* NULL, where there is none */
    set_discard(line);
    line->open.writable = !line->read_only;
    line->open.secrets = byre_objects_secrets();
    line->open.protocol_backing = byre_argument_protocol_backing(line->open.protocol_backing);
    if (check(line) < 0 || byre_nbd_exports_check(line) < 0)
        return -1;
    return byre_nbd_tls_choose(&line->tls, line->list, line->bind);
}
