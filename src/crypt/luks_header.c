/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The codec of LUKS headers.  Bytes come from strangers: see luks_header.h for what is checked.
 */
#include "config.h"

#include "crypt/luks_header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"

enum {
    AT_VERSION = 6, AT_CIPHER = 8, AT_MODE = 40, AT_HASH = 72, AT_PAYLOAD = 104, AT_KEY_BYTES = 108, AT_DIGEST = 112,
    AT_SALT = 132, AT_ITERATIONS = 164, AT_UUID = 168, UUID_BYTES = 40, TEXT_BYTES = 32,
};

/* Within a slot. */
enum { SLOT_ACTIVE = 0, SLOT_ITERATIONS = 4, SLOT_SALT = 8, SLOT_MATERIAL = 40, SLOT_STRIPES = 44 };

#define ACTIVE   0x00ac71f3u
#define INACTIVE 0x0000deadu
#define ALIGN    (4096 / BYRE_CIPHER_SECTOR) /* sectors: what QEMU and cryptsetup round areas to */

bool byre_luks_probe(const void *buf, size_t length)
{
    const uint8_t *bytes = buf;

    return length >= AT_VERSION + 2 && memcmp(bytes, BYRE_LUKS_MAGIC, BYRE_LUKS_MAGIC_BYTES) == 0 &&
           byre_get_be16(bytes + AT_VERSION) == 1;
}

uint32_t byre_luks_material_bytes(const struct byre_luks_header *header)
{
    return (uint32_t)byre_round_up(BYRE_LUKS_STRIPES * byre_cipher_key_bytes(&header->spec), BYRE_CIPHER_SECTOR);
}

void byre_luks_header_lay_out(struct byre_luks_header *header)
{
    uint32_t sectors = byre_luks_material_bytes(header) / BYRE_CIPHER_SECTOR, at = ALIGN;

    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++) {
        header->slots[i].material_sector = at;
        at += (uint32_t)byre_round_up(sectors, ALIGN);
    }
    header->payload_sector = at;
}

void byre_luks_mode_text(const struct byre_cipher_spec *spec, char ret_text[BYRE_LUKS_MODE_MAX])
{
    snprintf(ret_text, BYRE_LUKS_MODE_MAX, "%s-%s%s%s", byre_cipher_mode_name(spec->mode), byre_ivgen_name(spec->ivgen),
             spec->ivgen_hash >= 0 ? ":" : "",
             spec->ivgen_hash >= 0 ? byre_hash_name((enum byre_hash)spec->ivgen_hash) : "");
}

/* --- parsing ---------------------------------------------------------------------------------------------- */

static int take_text(const uint8_t *buf, const char *field, char ret_text[TEXT_BYTES + 1], struct byre_error *err)
{
    if (!memchr(buf, 0, TEXT_BYTES))
        return byre_error_set(err, -EINVAL, "LUKS header %s is not NUL terminated", field);
    memcpy(ret_text, buf, TEXT_BYTES);
    ret_text[TEXT_BYTES] = 0;
    for (const char *at = ret_text; *at; at++) {
        if (*at <= ' ' || *at > '~')
            return byre_error_set(err, -EINVAL, "LUKS header %s has a byte 0x%02x", field, (unsigned char)*at);
    }
    return 0;
}

/* "MODE-IVGEN[:HASH]". */
static int take_mode(const uint8_t *buf, struct byre_cipher_spec *spec, struct byre_error *err)
{
    char text[TEXT_BYTES + 1], *ivgen, *hash;
    int mode, generator, r = take_text(buf, "cipher mode", text, err);

    if (r < 0)
        return r;
    ivgen = strchr(text, '-');
    if (!ivgen)
        return byre_error_set(err, -EINVAL, "Unexpected cipher mode string format '%s'", text);
    *ivgen++ = 0;
    hash = strchr(ivgen, ':');
    if (hash)
        *hash++ = 0;
    mode = byre_cipher_mode_find(text);
    if (mode < 0)
        return byre_error_set(err, -ENOTSUP, "Cipher mode '%s' is not supported", text);
    generator = byre_ivgen_find(ivgen);
    if (generator < 0)
        return byre_error_set(err, -ENOTSUP, "IV generator '%s' is not supported", ivgen);
    spec->mode = (enum byre_cipher_mode)mode;
    spec->ivgen = (enum byre_ivgen)generator;
    spec->ivgen_hash = hash ? byre_hash_find(hash) : -1;
    if (hash && spec->ivgen_hash < 0)
        return byre_error_set(err, -ENOTSUP, "Hash algorithm '%s' is not supported", hash);
    if (!hash && spec->ivgen == BYRE_IVGEN_ESSIV)
        return byre_error_set(err, -EINVAL, "Missing IV generator hash specification");
    return 0;
}

static int take_cipher(const uint8_t *buf, struct byre_luks_header *header, struct byre_error *err)
{
    char text[TEXT_BYTES + 1];
    uint32_t bytes = byre_get_be32(buf + AT_KEY_BYTES), each;
    int hash, r = take_mode(buf + AT_MODE, &header->spec, err);

    if (r == 0)
        r = take_text(buf + AT_CIPHER, "cipher name", text, err);
    if (r < 0)
        return r;
    each = header->spec.mode == BYRE_CIPHER_XTS ? bytes / 2 : bytes;
    if (strcmp(text, "aes") != 0)
        return byre_error_set(err, -ENOTSUP, "Algorithm '%s' with key size %" PRIu32 " bits not supported", text,
                              bytes <= BYRE_CIPHER_KEY_MAX ? each * 8 : 0);
    if (bytes > BYRE_CIPHER_KEY_MAX || bytes % 2 || (each != 16 && each != 24 && each != 32))
        return byre_error_set(err, -EINVAL, "LUKS header key bytes %" PRIu32 " do not fit cipher aes-%s", bytes,
                              byre_cipher_mode_name(header->spec.mode));
    header->spec.bits = each * 8;
    r = take_text(buf + AT_HASH, "hash spec", text, err);
    if (r < 0)
        return r;
    hash = byre_hash_find(text);
    if (hash < 0)
        return byre_error_set(err, -ENOTSUP, "Hash algorithm '%s' is not supported", text);
    header->hash = (enum byre_hash)hash;
    return 0;
}

static int check_iterations(uint32_t iterations, const char *field, unsigned slot, struct byre_error *err)
{
    char which[32] = "";

    if (iterations >= 1 && iterations <= BYRE_LUKS_ITERATIONS_MAX)
        return 0;
    if (slot < BYRE_LUKS_SLOTS)
        snprintf(which, sizeof which, "Keyslot %u ", slot);
    return byre_error_set(err, -EINVAL, "%s%s %" PRIu32 " must be between 1 and %u", which, field, iterations,
                          BYRE_LUKS_ITERATIONS_MAX);
}

static int take_slot(const uint8_t *buf, unsigned i, struct byre_luks_header *header, struct byre_error *err)
{
    const uint8_t *at = buf + byre_luks_slot_at(i);
    struct byre_luks_slot *slot = &header->slots[i];
    uint32_t state = byre_get_be32(at + SLOT_ACTIVE), stripes = byre_get_be32(at + SLOT_STRIPES);

    if (state != ACTIVE && state != INACTIVE)
        return byre_error_set(err, -EINVAL, "Keyslot %u state (active/disable) is corrupted: 0x%08" PRIx32, i, state);
    if (stripes != BYRE_LUKS_STRIPES)
        return byre_error_set(err, -EINVAL, "Keyslot %u is corrupted (stripes count doesn't match, %" PRIu32 " != %u)",
                              i, stripes, BYRE_LUKS_STRIPES);
    slot->active = state == ACTIVE;
    slot->iterations = byre_get_be32(at + SLOT_ITERATIONS);
    memcpy(slot->salt, at + SLOT_SALT, sizeof slot->salt);
    slot->material_sector = byre_get_be32(at + SLOT_MATERIAL);
    return slot->active ? check_iterations(slot->iterations, "iterations", i, err) : 0;
}

/* Where everything lies; sectors fit 32 bits, so that no sum overflows 64. */
static int check_places(const struct byre_luks_header *header, uint64_t room, struct byre_error *err)
{
    uint64_t sectors = byre_luks_material_bytes(header) / BYRE_CIPHER_SECTOR;

    if (header->payload_sector * (uint64_t)BYRE_CIPHER_SECTOR < BYRE_LUKS_HEADER_ROOM)
        return byre_error_set(err, -EINVAL, "LUKS payload is overlapping with the header: payload offset %" PRIu32
                              " sectors", header->payload_sector);
    if (header->payload_sector * (uint64_t)BYRE_CIPHER_SECTOR > room)
        return byre_error_set(err, -EINVAL, "LUKS payload offset %" PRIu32 " sectors is past the end at %" PRIu64
                              " bytes", header->payload_sector, room);
    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++) {
        uint64_t start = header->slots[i].material_sector;

        if (start * BYRE_CIPHER_SECTOR < BYRE_LUKS_HEADER_ROOM)
            return byre_error_set(err, -EINVAL, "Keyslot %u is overlapping with the LUKS header: key material offset %"
                                  PRIu64 " sectors", i, start);
        if (start + sectors > header->payload_sector)
            return byre_error_set(err, -EINVAL, "Keyslot %u is overlapping with the encrypted payload: key material "
                                  "offset %" PRIu64 " sectors", i, start);
        for (unsigned j = 0; j < i; j++) {
            uint64_t other = header->slots[j].material_sector;

            if (start < other + sectors && other < start + sectors)
                return byre_error_set(err, -EINVAL, "Keyslots %u and %u are overlapping in the header: key material "
                                      "offset %" PRIu64 " sectors", j, i, start);
        }
    }
    return 0;
}

int byre_luks_header_parse(const uint8_t *buf, size_t length, uint64_t room, struct byre_luks_header *ret_header,
                           struct byre_error *err)
{
    struct byre_luks_header header = { .iterations = 0 };
    int r;

    if (length < BYRE_LUKS_HEADER_BYTES || memcmp(buf, BYRE_LUKS_MAGIC, BYRE_LUKS_MAGIC_BYTES) != 0)
        return byre_error_set(err, -EINVAL, "Volume is not in LUKS format");
    if (byre_get_be16(buf + AT_VERSION) != 1)
        return byre_error_set(err, -ENOTSUP, "LUKS version %u is not supported", byre_get_be16(buf + AT_VERSION));
    r = take_cipher(buf, &header, err);
    if (r < 0)
        return r;
    header.payload_sector = byre_get_be32(buf + AT_PAYLOAD);
    memcpy(header.digest, buf + AT_DIGEST, sizeof header.digest);
    memcpy(header.salt, buf + AT_SALT, sizeof header.salt);
    header.iterations = byre_get_be32(buf + AT_ITERATIONS);
    memcpy(header.uuid, buf + AT_UUID, UUID_BYTES);
    for (char *at = header.uuid; *at; at++) {
        if (*at < ' ' || *at > '~')
            return byre_error_set(err, -EINVAL, "LUKS header uuid has a byte 0x%02x", (unsigned char)*at);
    }
    r = check_iterations(header.iterations, "LUKS header master key iterations", BYRE_LUKS_SLOTS, err);
    for (unsigned i = 0; r == 0 && i < BYRE_LUKS_SLOTS; i++)
        r = take_slot(buf, i, &header, err);
    if (r == 0)
        r = check_places(&header, room, err);
    if (r == 0)
        *ret_header = header;
    return r;
}

/* --- serializing ------------------------------------------------------------------------------------------ */

static void put_slot(const struct byre_luks_slot *slot, uint8_t *at)
{
    byre_put_be32(at + SLOT_ACTIVE, slot->active ? ACTIVE : INACTIVE);
    byre_put_be32(at + SLOT_ITERATIONS, slot->iterations);
    memcpy(at + SLOT_SALT, slot->salt, sizeof slot->salt);
    byre_put_be32(at + SLOT_MATERIAL, slot->material_sector);
    byre_put_be32(at + SLOT_STRIPES, BYRE_LUKS_STRIPES);
}

void byre_luks_header_serialize(const struct byre_luks_header *header, uint8_t *buf)
{
    memset(buf, 0, BYRE_LUKS_HEADER_BYTES);
    memcpy(buf, BYRE_LUKS_MAGIC, BYRE_LUKS_MAGIC_BYTES);
    byre_put_be16(buf + AT_VERSION, 1);
    memcpy(buf + AT_CIPHER, "aes", 3);
    byre_luks_mode_text(&header->spec, (char *)buf + AT_MODE);
    strcpy((char *)buf + AT_HASH, byre_hash_name(header->hash));
    byre_put_be32(buf + AT_PAYLOAD, header->payload_sector);
    byre_put_be32(buf + AT_KEY_BYTES, (uint32_t)byre_cipher_key_bytes(&header->spec));
    memcpy(buf + AT_DIGEST, header->digest, sizeof header->digest);
    memcpy(buf + AT_SALT, header->salt, sizeof header->salt);
    byre_put_be32(buf + AT_ITERATIONS, header->iterations);
    memcpy(buf + AT_UUID, header->uuid, UUID_BYTES);
    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++)
        put_slot(&header->slots[i], buf + byre_luks_slot_at(i));
}
