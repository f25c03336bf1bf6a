/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the contents of a damaged image are: in itself or in a data file, in the clear or encrypted.
 *
 * With a header, that says so.  Without one the caller does: a data file is one that was named, and a password is for
 * the first LUKS header in the file that it opens, at the start of a cluster.  A guest may have encrypted partitions,
 * which look the same: so without a password nothing is taken for encrypted.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "qcow2/crypt.h"
#include "qcow2/recover.h"

static int check_data_file(const struct byre_recover_plan *plan, const struct byre_recover_input *input,
                           struct byre_error *err)
{
    const struct byre_qcow2_extension *name;
    bool known = plan->header_known != BYRE_RECOVER_LOST;

    if (known && input->data_file && !(plan->header.incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE))
        return byre_error_set(err, -EINVAL, "'%s' has no external data file, but one is given", plan->store->name);
    if (input->data_file || !(plan->header.incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE))
        return 0;
    name = byre_qcow2_header_find_extension(&plan->header, BYRE_QCOW2_EXT_DATA_FILE);
    if (!name)
        return byre_error_set(err, -EINVAL, "'%s' has its data in an external data file, which has to be given",
                              plan->store->name);
    return byre_error_set(err, -EINVAL, "'%s' has its data in '%.*s', an external data file, which has to be given",
                          plan->store->name, (int)name->length, (const char *)name->data);
}

int byre_recover_contents_find(struct byre_recover_plan *plan, const struct byre_recover_input *input,
                               struct byre_error *err)
{
    int rc = check_data_file(plan, input, err);

    if (rc < 0)
        return rc;
    if (plan->header.crypt_method && !input->password)
        return byre_error_set(err, -EINVAL, "'%s' is encrypted: parameter 'key-secret' is required for cipher",
                              plan->store->name);
    if (plan->header_known != BYRE_RECOVER_LOST && input->password && !plan->header.crypt_method)
        return byre_error_set(err, -EINVAL, "'%s' is not encrypted, but parameter 'key-secret' is given",
                              plan->store->name);
    plan->external = input->data_file != NULL;
    plan->data = plan->external ? input->data_file : plan->store;
    rc = byre_store_size(plan->data, &plan->data_size, err);
    plan->limit = MAX(plan->file_size, plan->data_size);
    return rc;
}

static int open_volume(struct byre_recover_plan *plan, struct byre_luks_volume *volume,
                       const struct byre_secret *password, struct byre_error *err)
{
    int rc = byre_luks_volume_unlock(volume, password, err);

    if (rc == 0)
        rc = byre_luks_volume_cipher(volume, &plan->cipher, err);
    byre_luks_volume_done(volume);
    return rc;
}

int byre_recover_contents_unlock(struct byre_recover_plan *plan, const struct byre_secret *password,
                                 struct byre_error *err)
{
    struct byre_luks_volume volume;
    int rc;

    plan->by_guest = plan->header.crypt_method == BYRE_QCOW2_CRYPT_AES;
    if (!plan->header.crypt_method)
        return 0;
    if (plan->by_guest)
        return byre_qcow2_aes_cipher(password, &plan->cipher, err);
    rc = byre_qcow2_crypt_load(plan->store, &plan->header, &volume, err);
    return rc < 0 ? rc : open_volume(plan, &volume, password, err);
}

int byre_recover_contents_unlock_found(struct byre_recover_plan *plan, const struct byre_secret *password,
                                       struct byre_error *err)
{
    struct byre_luks_volume volume;

    for (unsigned i = 0; i < plan->luks_count; i++) {
        uint64_t hoff = plan->luks_hoffs[i];

        if (byre_luks_volume_load(plan->store, hoff, plan->file_size - hoff, &volume, NULL) == 0 &&
            open_volume(plan, &volume, password, NULL) == 0)
            return 0;
    }
    return byre_error_set(err, -EPERM, "'%s' has no header, and of %u LUKS headers in it none opens with the password",
                          plan->store->name, plan->luks_count);
}

int byre_recover_contents_read(const struct byre_recover_plan *plan, uint64_t hoff, uint64_t goff, uint8_t *buf,
                               size_t length)
{
    int rc = byre_store_pread(plan->data, buf, length, hoff, NULL);

    if (rc < 0 || !plan->cipher)
        return rc;
    return byre_cipher_decrypt(plan->cipher, (plan->by_guest ? goff : hoff) / BYRE_CIPHER_SECTOR, buf, length);
}
