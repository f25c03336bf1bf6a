/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images with the encryption of old, crypt_method 1: AES-128-CBC, the password's first 16 bytes being the key, and a
 * sector's initialization vector its guest offset / 512.  It is broken in several ways; images are read, so that they
 * can be converted, and never written.
 *
 * The vector depends on what a host offset does not tell.  So such an image maps its data to guest offsets, and the
 * store here, which shows the decrypted disk at these, looks up where a cluster is by itself.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/iov.h"
#include "qcow2/crypt.h"
#include "qcow2/image.h"

#define KEY_BYTES 16

struct aes_store {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    struct byre_qcow2 *image;
    struct byre_store *below;
    struct byre_cipher *cipher;
    bool borrowed; /* the cipher is another image's */
};

/* Where the cluster with `goff`, which is data, begins in the store below. */
static int find_cluster(struct byre_qcow2 *image, uint64_t goff, uint64_t *ret_hoff)
{
    struct byre_slice *slice;
    unsigned index;
    struct byre_l2_entry entry;
    int rc;

    LOCK_SCOPE(&image->mutex);
    rc = byre_l2_slice_locked(image, goff, &slice, &index, NULL);
    if (rc < 0)
        return rc;
    entry = slice ? byre_l2_get(image, slice, index) : BYRE_L2_EMPTY;
    if (byre_entry_place(image, entry) != BYRE_PLACE_CLUSTER)
        return -EIO;
    rc = byre_l2_entry_check_locked(image, entry, byre_cluster_start(image, goff), NULL);
    if (rc == 0)
        *ret_hoff = byre_l2_offset(entry.word);
    return rc;
}

/* Whole sectors, within one cluster. */
static int read_part(const struct aes_store *aes, uint8_t *buf, size_t length, uint64_t goff)
{
    uint64_t hoff;
    int rc = find_cluster(aes->image, goff, &hoff);

    if (rc == 0)
        rc = byre_store_pread(aes->below, buf, length, hoff + (goff & (aes->image->cluster_size - 1)), NULL);
    return rc < 0 ? rc : byre_cipher_decrypt(aes->cipher, goff / BYRE_CIPHER_SECTOR, buf, length);
}

static int aes_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    const struct aes_store *aes = (struct aes_store *)store;
    uint32_t cluster_size = aes->image->cluster_size;
    CLEANUP(free_ptr) uint8_t *buf = malloc(cluster_size);
    uint64_t total, part;
    int rc = 0;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    if (!buf)
        return -ENOMEM;
    for (uint64_t at = 0; rc == 0 && at < total; at += part) {
        part = MIN(total - at, cluster_size - ((hoff + at) & (cluster_size - 1)));
        rc = read_part(aes, buf, part, hoff + at);
        if (rc == 0)
            byre_iov_scatter(iov, iov_count, at, buf, part);
    }
    return rc;
}

static int aes_get_size(struct byre_store *store, uint64_t *ret_size)
{
    (void)store;
    *ret_size = byre_round_down(INT64_MAX, BYRE_CIPHER_SECTOR);
    return 0;
}

static int aes_refuse(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    (void)store;
    (void)iov;
    (void)iov_count;
    (void)hoff;
    return -EROFS;
}

static int aes_flush(struct byre_store *store)
{
    (void)store;
    return 0;
}

static int aes_truncate(struct byre_store *store, uint64_t size)
{
    (void)store;
    (void)size;
    return -EROFS;
}

static void aes_close(struct byre_store *store)
{
    struct aes_store *aes = (struct aes_store *)store;

    if (!aes->borrowed)
        byre_cipher_free(aes->cipher);
    free(store->name);
    free(aes);
}

static const struct byre_store_ops aes_ops = {
    .kind = "aes",
    .preadv = aes_preadv,
    .pwritev = aes_refuse,
    .flush = aes_flush,
    .truncate = aes_truncate,
    .get_size = aes_get_size,
    .close = aes_close,
};

int byre_qcow2_aes_cipher(const struct byre_secret *password, struct byre_cipher **ret_cipher, struct byre_error *err)
{
    static const struct byre_cipher_spec spec = {
        .bits = 128, .mode = BYRE_CIPHER_CBC, .ivgen = BYRE_IVGEN_PLAIN64, .ivgen_hash = -1,
    };
    CLEANUP(secret) struct byre_secret *key = byre_secret_new(KEY_BYTES);

    if (!key)
        return byre_error_set_errno(err, -ENOMEM, "cipher");
    memcpy(key->bytes, password->bytes, MIN(password->length, (size_t)KEY_BYTES));
    return byre_cipher_new(&spec, key, ret_cipher, err);
}

/* Takes the cipher over on success, unless it is borrowed. */
static int stack_aes(struct byre_qcow2 *image, struct byre_cipher *cipher, bool borrowed, struct byre_error *err)
{
    struct aes_store *aes = calloc(1, sizeof *aes);
    char *name = strdup(image->data->name);

    if (!aes || !name) {
        free(aes);
        free(name);
        return byre_error_set_errno(err, -ENOMEM, "could not decrypt '%s'", image->data->name);
    }
    aes->image = image;
    aes->below = image->data;
    aes->cipher = cipher;
    aes->borrowed = borrowed;
    aes->store = (struct byre_store){
        .ops = &aes_ops,
        .limits = { .align = 1, .request_align = BYRE_CIPHER_SECTOR, .zero_align = 1, .discard_align = 1 },
        .name = name,
        .fd = -1,
        .read_only = true,
    };
    image->data = image->crypt.data = &aes->store;
    return 0;
}

int byre_image_crypt_open_aes(struct byre_qcow2 *image, const struct byre_secret *password, struct byre_error *err)
{
    struct byre_cipher *cipher;
    int rc = byre_qcow2_aes_cipher(password, &cipher, err);

    if (rc < 0)
        return rc;
    rc = stack_aes(image, cipher, false, err);
    if (rc < 0)
        byre_cipher_free(cipher);
    return rc;
}

int byre_image_crypt_share_aes(struct byre_qcow2 *image, struct byre_qcow2 *unlocked, struct byre_error *err)
{
    return stack_aes(image, ((struct aes_store *)unlocked->crypt.data)->cipher, true, err);
}
