/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a set of secrets.
 */
#ifndef BYRE_DISK_SECRETS_H
#define BYRE_DISK_SECRETS_H

#include "byre/secret.h"
#include "crypt/secret.h"

/* The secret called `id`, which belongs to the set: -ENOENT "No secret with id 'x'".  NULL is an empty set. */
int byre_secrets_find(const struct byre_secrets *secrets, const char *id, const struct byre_secret **ret_secret,
                      struct byre_error *err);

/* The same for a password, which has to be text: -EINVAL. */
int byre_secrets_find_text(const struct byre_secrets *secrets, const char *id, const struct byre_secret **ret_secret,
                           struct byre_error *err);

#endif
