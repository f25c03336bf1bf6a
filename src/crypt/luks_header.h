/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header of LUKS version 1 (LUKS On-Disk Format Specification 1.2.3): between its bytes and a struct.  Pure
 * functions over buffers.
 */
#ifndef BYRE_CRYPT_LUKS_HEADER_H
#define BYRE_CRYPT_LUKS_HEADER_H

#include "crypt/cipher.h"

#define BYRE_LUKS_MAGIC "LUKS\xba\xbe"
#define BYRE_LUKS_MAGIC_BYTES 6
#define BYRE_LUKS_HEADER_BYTES 592u  /* of the format */
#define BYRE_LUKS_HEADER_ROOM 1024u  /* in whole sectors */
#define BYRE_LUKS_SLOTS 8u
#define BYRE_LUKS_STRIPES 4000u      /* the only number there is */
#define BYRE_LUKS_SALT_BYTES 32
#define BYRE_LUKS_DIGEST_BYTES 20
/* More iterations take minutes, for each slot, and are the work of somebody who wants that. */
#define BYRE_LUKS_ITERATIONS_MAX 500000000u

struct byre_luks_slot {
    bool active;
    uint32_t iterations;
    uint8_t salt[BYRE_LUKS_SALT_BYTES];
    uint32_t material_sector; /* counted from the header */
};

struct byre_luks_header {
    struct byre_cipher_spec spec;
    enum byre_hash hash;
    uint32_t payload_sector;  /* counted from the header */
    uint8_t digest[BYRE_LUKS_DIGEST_BYTES]; /* of the master key */
    uint8_t salt[BYRE_LUKS_SALT_BYTES];
    uint32_t iterations;
    char uuid[41];
    struct byre_luks_slot slots[BYRE_LUKS_SLOTS];
};

/* Do these first bytes of a file tell of LUKS version 1? */
bool byre_luks_probe(const void *buf, size_t length);

/*
 * Parses the first `length` bytes of a header whose file, or whose place in a file, has `room` bytes.  -EINVAL names
 * the field that is wrong, -ENOTSUP a version, cipher or hash that byre does not have.  After success all that slots
 * name lies between the header and the payload, apart from each other, and within `room`.
 */
int byre_luks_header_parse(const uint8_t *buf, size_t length, uint64_t room, struct byre_luks_header *ret_header,
                           struct byre_error *err);

/* Writes BYRE_LUKS_HEADER_BYTES. */
void byre_luks_header_serialize(const struct byre_luks_header *header, uint8_t *buf);

/* "essiv:sha256" and the like, as the header has it: "cbc-essiv:sha256". */
#define BYRE_LUKS_MODE_MAX 33
void byre_luks_mode_text(const struct byre_cipher_spec *spec, char ret_text[BYRE_LUKS_MODE_MAX]);

/* Bytes of key material of a slot, whole sectors. */
uint32_t byre_luks_material_bytes(const struct byre_luks_header *header);

/* Lays out slots and payload one after the other, as QEMU does. */
void byre_luks_header_lay_out(struct byre_luks_header *header);

/* Where the fields of a slot stand in the header: `active` (4), `iterations` (4), salt. */
static inline uint32_t byre_luks_slot_at(unsigned slot)
{
    return 208 + 48 * slot;
}

#endif
