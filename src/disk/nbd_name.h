/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of disks over NBD, as options and back: "nbd://HOST[:PORT]/EXPORT", "nbd+unix:///EXPORT?socket=PATH", "nbds" in
 * place of "nbd" for TLS, and QEMU's older "nbd:HOST:PORT[:exportname=EXPORT]" and "nbd:unix:PATH[:exportname=EXPORT]".
 * (The NBD project's doc/uri.md.)
 */
#ifndef BYRE_DISK_NBD_NAME_H
#define BYRE_DISK_NBD_NAME_H

#include <stdbool.h>

#include <jansson.h>

#include "byre/error.h"
#include "store/nbd.h"

#define BYRE_NBD_PORT "10809"

/* Does the name begin like one of these? */
bool byre_nbd_name_is(const char *name);

/* Puts what the name says into the tree, driver included. */
int byre_nbd_name_read(const char *name, json_t *tree, struct byre_error *err);

/* The URI that says what the options say: malloced, NULL on ENOMEM. */
char *byre_nbd_name_print(const struct byre_nbd_options *options);

#endif
