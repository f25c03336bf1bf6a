/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connections of one NBD store: choosing one for each request, making more, and making them again.
 *
 *   P1. Several connections only where the server says that a flush on one covers writes on all.
 *   P2. A request whose connection was lost is sent again: on another connection, or on a new one within the reconnect
 *       delay.  All requests are such that doing them twice is doing them once.
 *   P3. Where something can be written and connections are made again there is one connection, and what was written
 *       over the lost one and not flushed is written again, in its order, before anything else is sent.  Without that a
 *       flush after it would say that something is durable which a server that died has lost.  So where connections
 *       are not made again, losing one of several fails everything that comes after it as well, and all that there will
 *       be are made before the first write.
 *   P4. A connection that is made again, or besides, is to the same disk: it has the same size and abilities.
 */
#ifndef BYRE_STORE_NBD_POOL_H
#define BYRE_STORE_NBD_POOL_H

#include "store/nbd_connection.h"

struct byre_nbd_pool;

/* Connects. */
int byre_nbd_pool_new(const struct byre_nbd_options *options, struct byre_nbd_pool **ret_pool,
                      struct byre_error *err);
/* Nobody uses it any more.  NULL is allowed. */
void byre_nbd_pool_free(struct byre_nbd_pool *pool);

const struct byre_nbd_export *byre_nbd_pool_export(const struct byre_nbd_pool *pool);

/* From any thread: 0, or a negative errno. */
int byre_nbd_pool_run(struct byre_nbd_pool *pool, struct byre_nbd_request *request);

#endif
