/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-nbd: serves a disk over NBD.  From the command line to the server.
 */
#include "config.h"

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/process.h"
#include "nbd/command_line_process.h"
#include "nbd/device.h"
#include "nbd/list.h"
#include "nbd/server.h"

/* GnuTLS is set up where it is used. */
GNUTLS_SKIP_GLOBAL_INIT

static int complain(const struct byre_error *err)
{
    return byre_complain_error(err, "%s", "");
}

static int listen_everywhere(const struct byre_nbd_command_line *line, byre_nbd_sockets *sockets,
                             struct byre_error *err)
{
    bool tcp = line->bind || line->port || !(line->sockets.len || line->vsocks.len);
    int rc = 0;

    for (size_t i = 0; i < line->sockets.len && rc == 0; i++)
        rc = byre_nbd_listen_unix(sockets, line->sockets.ptr[i], err);
    for (size_t i = 0; i < line->vsocks.len && rc == 0; i++)
        rc = byre_nbd_listen_vsock(sockets, line->vsocks.ptr[i], err);
    if (tcp && rc == 0)
        rc = byre_nbd_listen_tcp(sockets, line->bind, line->port ? line->port : "10809", err);
    return rc;
}

/* Unless sockets were handed over, or a device is the only client. */
static int listen_at(const struct byre_nbd_command_line *line, byre_nbd_sockets *sockets)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = line->selinux_label ? byre_nbd_listen_label(line->selinux_label, &err) : 0;

    if (rc == 0 && !line->connect && !sockets->len)
        rc = listen_everywhere(line, sockets, &err);
    if (rc == 0 && line->selinux_label)
        rc = byre_nbd_listen_label(NULL, &err);
    return rc < 0 ? complain(&err) : 0;
}

/* The sockets that this process has made: the first ones of `count`. */
static void remove_sockets(const struct byre_nbd_command_line *line, size_t count)
{
    for (size_t i = 0; i < line->sockets.len && i < count; i++) {
        if (*line->sockets.ptr[i] != '@')
            (void)unlink(line->sockets.ptr[i]);
    }
}

/* --- serving ----------------------------------------------------------------------------------------------- */

/* What the server's callbacks know. */
struct session {
    const struct byre_nbd_command_line *line;
    struct byre_background *background;
    const struct byre_nbd_notify *notify;
    struct byre_nbd_device device; /* with -c */
    struct byre_nbd_directory *directory; /* with --export-dir */
    bool pid_file_written;
};

static void complain_of_client(void *opaque, const char *text)
{
    (void)opaque;
    byre_complain("%s", text);
}

static void print_statistics(void *opaque, const char *text)
{
    (void)opaque;
    (void)fputs(text, stderr); /* has a buffer of no bytes: goes out in one piece */
}

/* Clients can come: whoever waits for that may go on. */
static int started(void *opaque, struct byre_nbd_server *server, struct byre_error *err)
{
    struct session *session = opaque;
    const struct byre_nbd_command_line *line = session->line;
    int rc = 0;

    if (line->connect)
        rc = byre_nbd_device_start(&session->device, server, line->connect, line->export_name, line->clients_max, err);
    if (rc == 0 && line->connect && line->verbose)
        byre_complain("NBD device %s is now connected to %s", line->connect, line->image);
    if (rc == 0 && line->pid_file) {
        rc = byre_pid_file_write(line->pid_file, err);
        session->pid_file_written = rc == 0;
    }
    if (rc == 0) {
        byre_background_ready(session->background, line->verbose);
        byre_nbd_notify_ready(session->notify);
    }
    return rc;
}

static void stopping(void *opaque)
{
    struct session *session = opaque;

    byre_nbd_device_stop(&session->device);
}

/* SIGHUP: for what is in the directory now. */
static void rescan(void *opaque)
{
    const struct session *session = opaque;
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_nbd_directory_rescan(session->directory, &err) < 0)
        complain(&err);
}

static int serve(struct session *session, struct byre_nbd_exports *exports, const byre_nbd_sockets *sockets,
                 int signal_fd)
{
    const struct byre_nbd_command_line *line = session->line;
    const struct byre_nbd_server_options options = {
        .exports = exports,
        .sockets = sockets,
        .signal_fd = signal_fd,
        .hangup_ends = byre_program_is_qemu(),
        .notify = session->notify,
        .clients_max = line->clients_max,
        .persistent = line->persistent,
        .tls = line->tls.tls,
        .creds = line->tls.creds,
        .authz = line->tls.authz,
        .handshake_seconds = line->handshake_seconds,
        .complain = line->verbose ? complain_of_client : NULL,
        .started = started,
        .stopping = stopping,
        .reload = session->directory ? rescan : NULL,
        .report = print_statistics,
        .opaque = session,
    };
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_nbd_serve(&options, &err);

    if (session->pid_file_written)
        (void)unlink(line->pid_file);
    return rc < 0 ? complain(&err) : 0;
}

static int run(struct session *session, byre_nbd_sockets *sockets)
{
    CLEANUP(close_fd) int signal_fd = byre_nbd_server_signals();
    const struct byre_nbd_command_line *line = session->line;
    size_t handed = sockets->len;
    struct byre_nbd_exports exports;
    struct byre_error err = BYRE_ERROR_INIT;
    int exit_code;

    if (signal_fd < 0)
        return byre_complain("Failed to create a signalfd: %s", strerror(-signal_fd));
    byre_raise_file_limit();
    byre_nbd_exports_init(&exports);
    exit_code = byre_nbd_exports_open(line, &exports, &session->directory);
    if (exit_code == 0)
        exit_code = listen_at(line, sockets);
    if (exit_code == 0)
        exit_code = serve(session, &exports, sockets, signal_fd);
    remove_sockets(line, sockets->len - handed);
    if (byre_nbd_exports_done(&exports, &err) < 0)
        exit_code = complain(&err);
    return exit_code;
}

/* With what a service manager has handed over, and in the background if that is wanted. */
static int start(const struct byre_nbd_command_line *line, byre_nbd_sockets *sockets)
{
    struct byre_background background = { .ready_fd = -1 };
    struct byre_nbd_notify notify;
    struct session session = { .line = line, .background = &background, .notify = &notify };
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_nbd_notify_open(&notify, &err), exit_code;

    byre_nbd_device_init(&session.device);
    if (rc == 0 && line->fork)
        rc = byre_background_enter(&background, &err);
    exit_code = rc < 0 ? complain(&err) : run(&session, sockets);
    byre_nbd_notify_close(&notify);
    return exit_code;
}

/* --- what is done instead ---------------------------------------------------------------------------------- */

/* What was printed is to be there. */
static int flush_output(void)
{
    return fflush(stdout) != 0 || ferror(stdout) ? byre_complain("Could not write to standard output") : 0;
}

static int list(const struct byre_nbd_command_line *line)
{
    const struct byre_nbd_tls_client none = { NULL }, *client = line->tls.client ? line->tls.client : &none;
    const struct byre_nbd_list_options options = {
        .socket = line->sockets.len ? line->sockets.ptr[0] : NULL,
        .host = line->bind,
        .port = line->port,
        .tls_certificates = client->certificates,
        .tls_psk_file = client->psk_file,
        .tls_username = client->username,
        .tls_verify_peer = client->verify_peer,
    };
    struct byre_error err = BYRE_ERROR_INIT;

    return byre_nbd_list(&options, stdout, &err) < 0 ? complain(&err) : flush_output();
}

static int disconnect(const struct byre_nbd_command_line *line)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_nbd_device_disconnect(line->image, &err) < 0)
        return complain(&err);
    printf("%s disconnected\n", line->image);
    return flush_output();
}

static int do_as_told(const struct byre_nbd_command_line *line)
{
    byre_nbd_sockets sockets = VEC_INIT;
    struct byre_error err = BYRE_ERROR_INIT;
    int exit_code;

    if (line->disconnect)
        return disconnect(line);
    if (byre_nbd_systemd_sockets(&sockets, &err) < 0)
        exit_code = complain(&err);
    else if (sockets.len && byre_nbd_command_line_check_activation(line) < 0)
        exit_code = 1;
    else
        exit_code = line->list ? list(line) : start(line, &sockets);
    byre_nbd_sockets_done(&sockets);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct byre_nbd_command_line line;
    int exit_code;

    byre_standard_files_open();
    byre_program_init(argv[0]);
    if (argc == 2 && strcmp(argv[1], "__options") == 0) {
        byre_options_dump(&byre_verb_serve);
        return 0;
    }
    if (byre_nbd_command_line_read(argc, argv, &line, &exit_code) == 0)
        exit_code = do_as_told(&line);
    byre_nbd_command_line_done(&line);
    byre_nbd_objects_done();
    byre_objects_done();
    return exit_code;
}
