/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encrypted images: where the LUKS header is, and the store that guest data lies in.
 *
 *   Y1. Plain clusters are encrypted, metadata is not.  With LUKS (crypt_method 2) a sector's number is its host offset
 *       / 512; with AES (crypt_method 1, of old, only read here) its guest offset / 512.
 *   Y2. There are no compressed clusters that byre writes.  Those that are there are read as they are.
 */
#ifndef BYRE_QCOW2_CRYPT_H
#define BYRE_QCOW2_CRYPT_H

#include "qcow2/fmt_header.h"
#include "store/luks_volume.h"

struct byre_qcow2;
struct byre_store;

/* What an encrypted image has besides. */
struct byre_image_crypt {
    struct byre_luks_volume volume; /* crypt_method 2; unlocked */
    uint64_t hoff, length;          /* of the LUKS header with its key material; 0, 0: there is none */
    struct byre_store *data;        /* the decrypting store, which stands on what was `data` before; or NULL */
};

/* Where the extension says that the LUKS header is: -EINVAL if that cannot be.  0, 0 without one. */
int byre_qcow2_crypt_place(const struct byre_qcow2_header *header, uint64_t *ret_hoff, uint64_t *ret_length,
                           struct byre_error *err);

/* Reads the LUKS header of an image in `store`, which stays locked. */
int byre_qcow2_crypt_load(struct byre_store *store, const struct byre_qcow2_header *header,
                          struct byre_luks_volume *ret_volume, struct byre_error *err);

/* Puts the decrypting store in front of image->data, if the image is encrypted.  `format`: what the user takes it for,
 * or NULL.  `password`: NULL if there is none, which is an error for an encrypted image. */
int byre_image_crypt_open(struct byre_qcow2 *image, const char *format, const struct byre_secret *password,
                          struct byre_error *err);

/* The same, as `unlocked` has it: the same image, which is open in the same store and outlives this one.  -EUCLEAN: its
 * header says something else by now. */
int byre_image_crypt_share(struct byre_qcow2 *image, struct byre_qcow2 *unlocked, struct byre_error *err);

/* Makes the LUKS header of an image that is being laid out, in clusters of its own. */
int byre_image_crypt_create_locked(struct byre_qcow2 *image, const struct byre_luks_options *options,
                                   const struct byre_secret *password, struct byre_error *err);

void byre_image_crypt_done(struct byre_qcow2 *image);

/* The store that shows guest data of an AES image, decrypted, at guest offsets; on image->data.  See crypt_aes.c. */
int byre_image_crypt_open_aes(struct byre_qcow2 *image, const struct byre_secret *password, struct byre_error *err);
/* The same, with the cipher of the store that `unlocked` has. */
int byre_image_crypt_share_aes(struct byre_qcow2 *image, struct byre_qcow2 *unlocked, struct byre_error *err);
/* The cipher of such an image. */
int byre_qcow2_aes_cipher(const struct byre_secret *password, struct byre_cipher **ret_cipher, struct byre_error *err);

#endif
