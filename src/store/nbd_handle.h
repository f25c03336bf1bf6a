/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of a connection share: nbd_connect.c, which makes and ends it, and nbd_connection.c, which uses it.
 */
#ifndef BYRE_STORE_NBD_HANDLE_H
#define BYRE_STORE_NBD_HANDLE_H

#include <libnbd.h>
#include <pthread.h>
#include <stdbool.h>

struct byre_nbd_request;

struct byre_nbd_connection {
    pthread_mutex_t lock; /* everything below */
    struct nbd_handle *nbd;
    int wake;             /* an eventfd that ends the poll() of the thread that is in it */
    bool polling;         /* a thread is in poll(), or on its way there or back */
    unsigned direction;   /* what it waits for */
    struct byre_nbd_request *waiting; /* requests without a reply, the last one first */
};

/* What poll() is to wait for. */
short byre_nbd_events(unsigned direction);

/* Tells the handle what poll() found, as far as it still cares. */
void byre_nbd_notify(struct nbd_handle *nbd, short revents);

#endif
