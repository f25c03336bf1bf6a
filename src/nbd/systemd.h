/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a service manager hands over, and what it is told: sockets by LISTEN_FDS (sd_listen_fds(3)), states through
 * NOTIFY_SOCKET (sd_notify(3)).  Without libsystemd.
 *
 * The variables are taken out of the environment, so that no other program takes them for its own: in the main
 * thread, before others are started.
 */
#ifndef BYRE_NBD_SYSTEMD_H
#define BYRE_NBD_SYSTEMD_H

#include "nbd/listen.h"

/*
 * Adds the sockets that were handed over to this process; there are none where LISTEN_PID is not this process.
 * -EINVAL: one of them is no stream socket that listens, or the variables make no sense.
 */
int byre_nbd_systemd_sockets(byre_nbd_sockets *sockets, struct byre_error *err);

/* Where states go. */
struct byre_nbd_notify {
    int fd; /* of a datagram socket that is connected to the manager's; -1: nobody wants to know */
};

/* -errno with words: NOTIFY_SOCKET makes no sense, or there is nobody. */
int byre_nbd_notify_open(struct byre_nbd_notify *ret_notify, struct byre_error *err);
void byre_nbd_notify_close(struct byre_nbd_notify *notify);

/* Says "KEY=VALUE" lines.  What goes wrong is nobody's business: the server serves all the same. */
void byre_nbd_notify_say(const struct byre_nbd_notify *notify, const char *text);
/* Clients can come; this process is the one to watch, which --fork makes another one. */
void byre_nbd_notify_ready(const struct byre_nbd_notify *notify);
/* Exports are looked for again; byre_nbd_notify_ready ends that. */
void byre_nbd_notify_reloading(const struct byre_nbd_notify *notify);
void byre_nbd_notify_stopping(const struct byre_nbd_notify *notify);

#endif
