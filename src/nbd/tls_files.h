/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of credentials hold, judged before anybody comes.
 */
#ifndef BYRE_NBD_TLS_FILES_H
#define BYRE_NBD_TLS_FILES_H

#include "byre/error.h"

/*
 * Are the certificates of the authorities (`ca`) and of the server (`cert`, the first one its own) valid today, are the
 * authorities allowed to sign, and did they sign for the server?  -EINVAL names the file.  GnuTLS was started.
 */
int byre_nbd_tls_judge_certificates(const char *ca, const char *cert, struct byre_error *err);

/* Has each line of the file a user's name and a key, and is there one?  -EINVAL names file and line. */
int byre_nbd_tls_judge_keys(const char *path, struct byre_error *err);

#endif
