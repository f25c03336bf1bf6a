/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may use the server, of those who have proved who they are: as QEMU's objects authz-simple, authz-list and
 * authz-list-file.
 *
 *   A1. Where it cannot be known whether somebody may, he may not.
 */
#ifndef BYRE_NBD_AUTHZ_H
#define BYRE_NBD_AUTHZ_H

#include <stdbool.h>

#include "byre/error.h"

struct byre_nbd_authz;

/* An empty list, which allows nobody, or with "allow" everybody.  `policy`: NULL is "deny". */
int byre_nbd_authz_new(const char *policy, struct byre_nbd_authz **ret_authz, struct byre_error *err);

/*
 * A list in a file: JSON, {"rules": [{"match": ..., "policy": ..., "format": ...}], "policy": ...}.  With `refresh` it
 * is read again when it has changed; while it cannot be read then, nobody may.
 */
int byre_nbd_authz_new_file(const char *path, bool refresh, struct byre_nbd_authz **ret_authz, struct byre_error *err);

/* NULL is allowed. */
void byre_nbd_authz_free(struct byre_nbd_authz *authz);

/*
 * The next rule: whoever matches, and no rule before, is allowed or denied by `policy` ("allow", "deny").  `format`:
 * "exact" (or NULL), or "glob", where "*" stands for any text, and "?" for any character.
 */
int byre_nbd_authz_add(struct byre_nbd_authz *authz, const char *match, const char *policy, const char *format,
                       struct byre_error *err);

/* May they?  NULL: somebody who has not said who he is.  Any thread may ask. */
bool byre_nbd_authz_allows(struct byre_nbd_authz *authz, const char *identity);

#endif
