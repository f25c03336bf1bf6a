/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making new images.
 */
#ifndef BYRE_CREATE_H
#define BYRE_CREATE_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/disk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How an image is encrypted.  Names are QEMU's; NULL, and an iter_time of 0, are its defaults. */
struct byre_encrypt_options {
    const char *format;         /* qcow2: "luks"; NULL: it is not encrypted.  "aes" is refused */
    const char *key_secret;     /* the id of the secret that holds the password */
    const char *cipher_alg;     /* "aes-128", "aes-192", "aes-256" (default) */
    const char *cipher_mode;    /* "xts" (default), "cbc", "ecb", "ctr" */
    const char *ivgen_alg;      /* "plain", "plain64" (default), "essiv" */
    const char *ivgen_hash_alg; /* of essiv: "sha256" */
    const char *hash_alg;       /* of the keys: "sha256" */
    uint64_t iter_time;         /* milliseconds that trying a password shall take; 0: 2000 */
};

struct byre_create_options {
    const char *format;         /* "raw", "qcow2" or "luks" */
    uint64_t size;              /* virtual size, bytes; rounded up to 512 by qcow2 and raw alike */
    uint32_t cluster_size;      /* qcow2: bytes; 0: 65536 */
    const char *compat;         /* qcow2: "0.10"/"v2" or "1.1"/"v3"; NULL: v3 */
    unsigned refcount_bits;     /* qcow2: 1 to 64; 0: 16 */
    bool lazy_refcounts;
    bool extended_l2;           /* subclusters; wants v3 and clusters of at least 16 KiB */
    const char *compression_type; /* qcow2: "zlib", "zstd"; NULL: zlib */
    const char *preallocation;  /* "off", "metadata", "falloc", "full"; NULL: off */
    const char *backing_name;   /* as it shall be recorded; NULL: none */
    const char *backing_format; /* as it shall be recorded; NULL with a backing name is refused for qcow2 */
    const char *data_file;      /* qcow2: the file that the data goes to, as it shall be recorded; NULL: none.  It is
                                   made, or truncated */
    bool data_file_raw;         /* ... which reads as the disk does, without the image */
    bool keep_data_file;        /* ... which is there, and keeps what it holds */
    struct byre_encrypt_options encrypt; /* qcow2 and luks */
    const struct byre_secrets *secrets;  /* that `encrypt` refers to, or NULL */
};

/*
 * Creates `name`, truncating a regular file that is there, and writes the image; its magic comes last.  On
 * failure a file that this call made is removed again.  -EINVAL names the option and the value.  The backing
 * file is not looked at: byre_create_check_backing does that.
 */
int byre_create(const char *name, const struct byre_create_options *options, struct byre_error *err);

/* Is `name` one that an image can be made by: a path, "file:PATH" or "host_device:PATH"?  Else an error that names the
 * protocol.  byre_create checks it, too. */
int byre_create_check_name(const char *name, struct byre_error *err);

/*
 * Opens the backing file that an image at `name` would have and returns its virtual size and format (a static
 * string); relative names are taken relative to the directory of `name`.  `backing_name` may be any name; those in
 * the images below are followed where `protocol_backing`, as in struct byre_open_options, says so; `secrets` as there.
 */
int byre_create_check_backing(const char *name, const char *backing_name, const char *backing_format,
                              bool protocol_backing, const struct byre_secrets *secrets, uint64_t *ret_size,
                              const char **ret_format, struct byre_error *err);

/* As byre_create, and leaves the new image open for writing: nothing but zeros, or what the backing file shows.
 * It is not an image until byre_seal; byre_close of an unsealed disk removes a file that this call made. */
int byre_create_open(const char *name, const struct byre_create_options *options,
                     const struct byre_open_options *open_options, struct byre_disk **ret_disk,
                     struct byre_error *err);

/* Makes a disk of byre_create_open whole and durable. */
int byre_seal(struct byre_disk *disk, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
