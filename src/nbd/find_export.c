/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding the export that a client names in its handshake, which may have to be opened first.
 *
 * What was opened for a client stays open for the rest of its handshake, or until it asks for another one: clients ask
 * for information first, and for the export afterwards.  Clients are not told names of files, which errors have.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "nbd/keeper.h"
#include "nbd/negotiation.h"

static int refuse(struct byre_nbd_negotiation *negotiation, const char *name, size_t length, int rc)
{
    int shown = (int)MIN(length, (size_t)128);

    if (rc == -ENOENT)
        snprintf(negotiation->trouble, sizeof negotiation->trouble, "export '%.*s' not present", shown, name);
    else if (rc == -EAGAIN || rc == -EBUSY)
        snprintf(negotiation->trouble, sizeof negotiation->trouble, "export '%.*s' is in use elsewhere", shown, name);
    else
        snprintf(negotiation->trouble, sizeof negotiation->trouble, "export '%.*s' cannot be opened: %s", shown, name,
                 strerror(-rc));
    return -ENOENT;
}

static int new_ask(struct byre_nbd_negotiation *negotiation, const void *name, size_t length)
{
    struct byre_nbd_ask *ask = calloc(1, sizeof *ask);

    if (!ask)
        return -ENOMEM;
    memcpy(ask->name, name, length);
    negotiation->ask = ask;
    return -EINPROGRESS;
}

int byre_nbd_negotiation_find(struct byre_nbd_negotiation *negotiation, const void *name, size_t length,
                              struct byre_nbd_export **ret_export)
{
    struct byre_nbd_ask *ask = negotiation->ask;
    struct byre_nbd_export *export = byre_nbd_exports_find(negotiation->exports, name, length);
    bool asked = ask && strlen(ask->name) == length && memcmp(ask->name, name, length) == 0;
    int rc;

    if (!export && asked && ask->export)
        export = byre_nbd_export_ref(ask->export);
    if (export) {
        *ret_export = export;
        return 0;
    }
    rc = asked ? ask->rc : -ENOENT;
    byre_nbd_ask_free(STEAL(negotiation->ask)); /* so that it is tried again the next time */
    if (asked || !negotiation->exports->keeper || !length || length > NBD_NAME_MAX || memchr(name, 0, length))
        return refuse(negotiation, name, length, rc);
    return new_ask(negotiation, name, length);
}

void byre_nbd_negotiation_answered(struct byre_nbd_negotiation *negotiation)
{
    negotiation->phase = negotiation->phase == BYRE_NBD_PHASE_WAIT ? BYRE_NBD_PHASE_OPTIONS : negotiation->phase;
}
