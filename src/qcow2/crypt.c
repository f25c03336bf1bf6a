/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encrypted images: opening and making.
 */
#include "config.h"

#include "qcow2/crypt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/image.h"
#include "store/crypt_store.h"

#define EXTENSION_BYTES 16
#define LENGTH_MAX      (64u << 20) /* of a LUKS header: far more than eight slots take up */

int byre_qcow2_crypt_place(const struct byre_qcow2_header *header, uint64_t *ret_hoff, uint64_t *ret_length,
                           struct byre_error *err)
{
    const struct byre_qcow2_extension *extension =
        byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_CRYPT_HEADER);
    uint64_t hoff, length, cluster_size = 1ULL << header->cluster_bits;

    *ret_hoff = *ret_length = 0;
    if (!extension || extension->length != EXTENSION_BYTES)
        return 0;
    hoff = byre_get_be64(extension->data);
    length = byre_get_be64(extension->data + 8);
    if (!byre_is_aligned(hoff, cluster_size))
        return byre_error_set(err, -EINVAL, "Encryption header offset '%" PRIu64 "' is not a multiple of cluster size"
                              " '%" PRIu64 "'", hoff, cluster_size);
    if (hoff < cluster_size || hoff > INT64_MAX - LENGTH_MAX)
        return byre_error_set(err, -EINVAL, "Encryption header offset '%" PRIu64 "' is invalid", hoff);
    if (length < BYRE_LUKS_HEADER_BYTES || length > LENGTH_MAX)
        return byre_error_set(err, -EINVAL, "Encryption header length '%" PRIu64 "' must be between %u and %u", length,
                              BYRE_LUKS_HEADER_BYTES, LENGTH_MAX);
    *ret_hoff = hoff;
    *ret_length = length;
    return 0;
}

int byre_qcow2_crypt_load(struct byre_store *store, const struct byre_qcow2_header *header,
                          struct byre_luks_volume *ret_volume, struct byre_error *err)
{
    uint64_t hoff, length, size;
    int rc = byre_qcow2_crypt_place(header, &hoff, &length, err);

    if (rc == 0)
        rc = byre_store_size(store, &size, err);
    if (rc < 0)
        return rc;
    if (!length || hoff >= size)
        return byre_error_set(err, -EINVAL, "Encryption header offset '%" PRIu64 "' is past the end of the file", hoff);
    return byre_luks_volume_load(store, hoff, length, ret_volume, err);
}

/* Puts a filter of the volume's cipher in front of the data. */
static int stack_filter(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_cipher *cipher;
    int rc = byre_luks_volume_cipher(&image->crypt.volume, &cipher, err);

    if (rc == 0)
        rc = byre_crypt_store_new(image->data, false, cipher, &image->crypt.data, err);
    if (rc == 0)
        image->data = image->crypt.data;
    return rc;
}

static int open_luks(struct byre_qcow2 *image, const struct byre_secret *password, struct byre_error *err)
{
    struct byre_image_crypt *crypt = &image->crypt;
    int rc = byre_qcow2_crypt_load(image->store, &image->header, &crypt->volume, err);

    if (rc == 0)
        rc = byre_qcow2_crypt_place(&image->header, &crypt->hoff, &crypt->length, err);
    if (rc == 0)
        rc = byre_luks_volume_unlock(&crypt->volume, password, err);
    return rc < 0 ? rc : stack_filter(image, err);
}

int byre_image_crypt_open(struct byre_qcow2 *image, const char *format, const struct byre_secret *password,
                          struct byre_error *err)
{
    uint32_t method = image->header.crypt_method;
    const char *name = method == BYRE_QCOW2_CRYPT_LUKS ? "luks" : "aes";

    if (!method && format)
        return byre_error_set(err, -EINVAL, "No encryption in image header, but options specified format '%s'", format);
    if (!method)
        return 0;
    if (format && strcmp(format, name) != 0)
        return byre_error_set(err, -EINVAL, "Header reported '%s' encryption format but options specify '%s'", name,
                              format);
    if (!password)
        return byre_error_set(err, -EINVAL, "Parameter 'encrypt.key-secret' is required for cipher");
    if (method == BYRE_QCOW2_CRYPT_LUKS)
        return open_luks(image, password, err);
    if (image->writable)
        return byre_error_set(err, -ENOTSUP, "AES-CBC encryption (crypt_method 1) is for reading only: convert the"
                              " image to LUKS");
    return byre_image_crypt_open_aes(image, password, err);
}

int byre_image_crypt_share(struct byre_qcow2 *image, struct byre_qcow2 *unlocked, struct byre_error *err)
{
    /* whoever is let write to an image that is open (--force-share) may have written another header */
    if (image->header.crypt_method != unlocked->header.crypt_method)
        return byre_error_set(err, -EUCLEAN, "crypt_method is %u, and was %u when the image was opened",
                              image->header.crypt_method, unlocked->header.crypt_method);
    switch (image->header.crypt_method) {
    case BYRE_QCOW2_CRYPT_LUKS: image->data = unlocked->data; return 0;
    case BYRE_QCOW2_CRYPT_AES: return byre_image_crypt_share_aes(image, unlocked, err);
    default: return 0;
    }
}

/* The clusters that the header and the key material take up, all of them on the medium. */
static int place_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_image_crypt *crypt = &image->crypt;
    uint64_t bytes = byre_luks_volume_payload(&crypt->volume);
    uint8_t extension[EXTENSION_BYTES];
    int rc = byre_alloc_exact_locked(image, byre_cluster_ceil(image, bytes) >> image->cluster_bits, &crypt->hoff, err);

    if (rc == 0)
        rc = byre_alloc_zero_fill(image, crypt->hoff, byre_cluster_ceil(image, bytes), err);
    if (rc < 0)
        return rc;
    crypt->length = bytes;
    byre_put_be64(extension, crypt->hoff);
    byre_put_be64(extension + 8, bytes);
    image->header.crypt_method = BYRE_QCOW2_CRYPT_LUKS;
    if (byre_qcow2_header_add_extension(&image->header, BYRE_QCOW2_EXT_CRYPT_HEADER, extension, sizeof extension) < 0)
        return byre_error_set(err, -ENOMEM, "Could not allocate the header");
    return 0;
}

int byre_image_crypt_create_locked(struct byre_qcow2 *image, const struct byre_luks_options *options,
                                   const struct byre_secret *password, struct byre_error *err)
{
    struct byre_luks_volume *volume = &image->crypt.volume;
    CLEANUP(free_ptr) uint8_t *material = NULL;
    int rc = byre_luks_volume_new(options, password, volume, &material, err);

    if (rc == 0)
        rc = place_locked(image, err);
    if (rc < 0)
        return rc;
    volume->store = image->store;
    volume->hoff = image->crypt.hoff;
    rc = byre_luks_volume_write_new(volume, material, err);
    return rc < 0 ? rc : stack_filter(image, err);
}

void byre_image_crypt_done(struct byre_qcow2 *image)
{
    byre_store_close(image->crypt.data);
    byre_luks_volume_done(&image->crypt.volume);
}

struct byre_luks_volume *byre_qcow2_luks(struct byre_qcow2 *image)
{
    return image->crypt.volume.master ? &image->crypt.volume : NULL;
}

struct byre_store *byre_qcow2_data(struct byre_qcow2 *image)
{
    return image->data;
}
