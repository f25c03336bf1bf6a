/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Secrets: passwords and keys under names, by which options of encrypted images refer to them ("key-secret").
 *
 * Their bytes are in memory that is locked as far as the process may do that, is left out of core dumps, and is wiped
 * when it is given back.  No message and no name of an image shows them.
 */
#ifndef BYRE_SECRET_H
#define BYRE_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_disk;
struct byre_secrets;

/* As the properties of QEMU's object "secret". */
struct byre_secret_options {
    const char *id;     /* a letter, then letters, digits, "-", "." and "_" */
    const char *data;   /* the bytes; or NULL */
    const char *file;   /* the file that holds them, if `data` is NULL */
    const char *format; /* of either: "raw", "base64"; NULL: raw */
    const char *key_id; /* the secret that holds the key, 32 bytes, with which they are encrypted, by
                           AES-256-CBC; or NULL */
    const char *iv;     /* with `key_id`: the initialization vector, 16 bytes in base64 */
};

/* An empty set; NULL if there is no memory. */
struct byre_secrets *byre_secrets_new(void);

/* Wipes and releases all of them.  No disk needs them after it was opened.  NULL is allowed. */
void byre_secrets_free(struct byre_secrets *secrets);

/* Adds a secret; one with this id must not be there.  -EINVAL names the property that is wrong. */
int byre_secrets_add(struct byre_secrets *secrets, const struct byre_secret_options *options, struct byre_error *err);

/*
 * The bytes of a secret as a text in UTF-8, which stays the set's.  -ENOENT: there is none with this id (or no set:
 * NULL); -EINVAL: it is no text.
 */
int byre_secrets_text(const struct byre_secrets *secrets, const char *id, const char **ret_text,
                      struct byre_error *err);

/* What to do to the key slots of an encrypted disk: the options of QEMU's amend. */
struct byre_keyslot_change {
    bool active;            /* state=active: put new_secret into a slot; else state=inactive: erase slots */
    int keyslot;            /* 0 to 7; -1: a free slot, or all those that old_secret opens */
    const char *new_secret; /* ids of secrets, or NULL */
    const char *old_secret;
    uint64_t iter_time;     /* active: milliseconds that trying the password shall take; 0: 2000 */
    bool force;             /* also what makes the disk unreadable for ever, or overwrites a slot in use */
    bool dry_run;           /* tell whether it makes sense, and change nothing */
};

/*
 * Changes the key slots of a disk in LUKS, or of a qcow2 image encrypted with it, that was opened for writing; durable
 * when it returns 0.  A crash leaves each slot as it was or as it shall be, or inactive.  No other such call on the
 * disk may be under way.  -EINVAL with qemu-img's words where the change makes no sense, and nothing is changed;
 * -ENOTSUP where the disk has no key slots.
 */
int byre_keyslots_change(struct byre_disk *disk, const struct byre_keyslot_change *change,
                         const struct byre_secrets *secrets, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
