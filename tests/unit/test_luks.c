/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LUKS headers: there and back, hostile ones, the splitter, slots.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/endian.h"
#include "crypt/luks_keys.h"

#define ROOM (64u << 20)

static const struct byre_luks_options small = {
    .spec = { 128, BYRE_CIPHER_XTS, BYRE_IVGEN_PLAIN64, -1 }, .hash = BYRE_HASH_SHA256, .iter_time = 1,
};

static void from_hex(const char *text, uint8_t *bytes)
{
    for (size_t i = 0; text[2 * i]; i++) {
        char pair[] = { text[2 * i], text[2 * i + 1], 0 };

        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

static void new_header(const struct byre_luks_options *options, struct byre_luks_header *header,
                       struct byre_secret **master)
{
    struct byre_error err = BYRE_ERROR_INIT;

    assert_int_equal(byre_luks_header_new(options, header, master, &err), 0);
}

static void header_comes_back_as_it_was(void **state)
{
    const struct byre_luks_options options = {
        .spec = { 256, BYRE_CIPHER_CBC, BYRE_IVGEN_ESSIV, BYRE_HASH_SHA256 }, .hash = BYRE_HASH_SHA512, .iter_time = 1,
    };
    uint8_t bytes[BYRE_LUKS_HEADER_ROOM], again[BYRE_LUKS_HEADER_BYTES];
    struct byre_luks_header header, parsed;
    struct byre_secret *master;

    (void)state;
    new_header(&options, &header, &master);
    byre_luks_header_serialize(&header, bytes);
    assert_true(byre_luks_probe(bytes, sizeof bytes));
    assert_string_equal((char *)bytes + 40, "cbc-essiv:sha256");
    assert_int_equal(byre_luks_header_parse(bytes, sizeof bytes, ROOM, &parsed, NULL), 0);
    assert_string_equal(parsed.uuid, header.uuid);
    assert_int_equal(parsed.payload_sector, header.payload_sector);
    byre_luks_header_serialize(&parsed, again);
    assert_memory_equal(bytes, again, sizeof again);
    byre_secret_free(master);
}

/* What a stranger may write, and what is said of it. */
static void hostile_fields_are_refused_by_name(void **state)
{
    static const struct {
        unsigned at;
        const char *bytes; /* hexadecimal */
        const char *text;
    } cases[] = {
        { 0, "00", "Volume is not in LUKS format" },
        { 6, "0002", "LUKS version 2 is not supported" },
        { 8, "61657300", NULL },
        { 8, "73657270656e7400", "Algorithm 'serpent'" },
        { 8, "6161616161616161616161616161616161616161616161616161616161616161", "cipher name is not NUL terminated" },
        { 8, "1b5b00", "cipher name has a byte 0x1b" },
        { 40, "78747300", "Unexpected cipher mode string format 'xts'" },
        { 40, "6c72772d706c61696e00", "Cipher mode 'lrw'" },
        { 40, "6362632d6265636f00", "IV generator 'beco'" },
        { 40, "6362632d657373697600", "Missing IV generator hash" },
        { 40, "6362632d65737369763a666f6f00", "Hash algorithm 'foo'" },
        { 72, "776869726c706f6f6c00", "Hash algorithm 'whirlpool'" },
        { 104, "00000000", "payload is overlapping with the header" },
        { 104, "00000009", "Keyslot 0 is overlapping with the encrypted payload" },
        { 104, "ffffffff", "payload offset 4294967295" },
        { 108, "00000000", "key bytes 0" },
        { 108, "00000021", "key bytes 33" },
        { 108, "ffffffff", "key bytes 4294967295" },
        { 108, "00000010", "key bytes 16" }, /* no half of a key */
        { 164, "00000000", "master key iterations 0" },
        { 164, "ffffffff", "master key iterations 4294967295" },
        { 168, "0a", "uuid has a byte 0x0a" },
        { 208, "00ac71f4", "Keyslot 0 state" },
        { 212, "00000000", "Keyslot 0 iterations 0" },
        { 212, "ffffffff", "Keyslot 0 iterations 4294967295" },
        { 248, "00000000", "Keyslot 0 is overlapping with the LUKS header" },
        { 248, "00000001", "Keyslot 0 is overlapping with the LUKS header" },
        { 248, "ffffffff", "Keyslot 0 is overlapping with the encrypted payload" },
        { 296, "00000009", "Keyslots 0 and 1 are overlapping" },
        { 252, "00000000", "Keyslot 0 is corrupted (stripes" },
        { 252, "ffffffff", "Keyslot 0 is corrupted (stripes" },
        { 588, "00000fa1", "Keyslot 7 is corrupted (stripes" },
    };
    uint8_t bytes[BYRE_LUKS_HEADER_BYTES], hostile[BYRE_LUKS_HEADER_BYTES], material[BYRE_LUKS_STRIPES * 32];
    struct byre_luks_header header, parsed;
    struct byre_secret *master, *password = byre_secret_copy("x", 1);

    (void)state;
    new_header(&small, &header, &master);
    assert_int_equal(byre_luks_slot_seal(&header, 0, master, password, 1, material, NULL), 0);
    byre_luks_header_serialize(&header, bytes);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct byre_error err = BYRE_ERROR_INIT;
        int r;

        memcpy(hostile, bytes, sizeof bytes);
        from_hex(cases[i].bytes, hostile + cases[i].at);
        r = byre_luks_header_parse(hostile, sizeof hostile, ROOM, &parsed, &err);
        if (!cases[i].text) {
            assert_int_equal(r, 0);
            continue;
        }
        assert_true(r == -EINVAL || r == -ENOTSUP);
        if (!strstr(err.text, cases[i].text))
            fail_msg("case %u: '%s', not '%s'", i, err.text, cases[i].text);
    }
    assert_int_equal(byre_luks_header_parse(bytes, sizeof bytes - 1, ROOM, &parsed, NULL), -EINVAL);
    assert_int_equal(byre_luks_header_parse(bytes, sizeof bytes, header.payload_sector * 512 - 1, &parsed, NULL),
                     -EINVAL);
    byre_secret_free(master);
    byre_secret_free(password);
}

/* Any bytes: no crash, and what is accepted keeps its promises. */
static void random_headers_do_no_harm(void **state)
{
    unsigned seed = (unsigned)(getenv("BYRE_SEED") ? atoi(getenv("BYRE_SEED")) : 4711);
    uint8_t bytes[BYRE_LUKS_HEADER_BYTES], changed[BYRE_LUKS_HEADER_BYTES];
    struct byre_luks_header header, parsed;
    struct byre_secret *master;

    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    new_header(&small, &header, &master);
    byre_luks_header_serialize(&header, bytes);
    for (unsigned i = 0; i < 20000; i++) {
        memcpy(changed, bytes, sizeof bytes);
        for (int n = rand() % 4; n >= 0; n--)
            changed[rand() % sizeof bytes] = (uint8_t)rand();
        if (byre_luks_header_parse(changed, sizeof changed, ROOM, &parsed, NULL) < 0)
            continue;
        assert_true(parsed.payload_sector * 512ULL <= ROOM);
        for (unsigned j = 0; j < BYRE_LUKS_SLOTS; j++) {
            assert_true(parsed.slots[j].material_sector * 512ULL >= BYRE_LUKS_HEADER_ROOM);
            assert_true(parsed.slots[j].material_sector * 512ULL + byre_luks_material_bytes(&parsed) <= ROOM);
        }
    }
    byre_secret_free(master);
}

/* Made with another implementation, from the specification. */
static void splitter_merges_as_known(void **state)
{
    uint8_t split[3 * 48], key[48], wanted[48];

    (void)state;
    for (unsigned i = 0; i < sizeof split; i++)
        split[i] = (uint8_t)(i * 7);
    assert_int_equal(byre_luks_merge(BYRE_HASH_SHA256, split, 48, 3, key, NULL), 0);
    from_hex("f4a5dfb535db047c6c824508595603ec5682fffad48bf3bf"
             "d824a33ff29b420b02d206200492ddd8ee263a0e4bd0c9af", wanted);
    assert_memory_equal(key, wanted, 48);
    assert_int_equal(byre_luks_merge(BYRE_HASH_SHA1, split, 48, 3, key, NULL), 0);
    from_hex("8ee7a2fd9945543def71a881b6a3beb092d799cdf915ffd9"
             "6053d092ba8f7070c04625344860cf7d317bfc133f1c623d", wanted);
    assert_memory_equal(key, wanted, 48);
    assert_int_equal(byre_luks_split(BYRE_HASH_SHA1, wanted, 48, 3, split, NULL), 0);
    assert_int_equal(byre_luks_merge(BYRE_HASH_SHA1, split, 48, 3, key, NULL), 0);
    assert_memory_equal(key, wanted, 48);
}

static void slot_opens_with_its_password_only(void **state)
{
    struct byre_secret *right = byre_secret_copy("right", 5), *wrong = byre_secret_copy("righu", 5);
    struct byre_secret *master, *found = NULL;
    uint8_t *material, *copy;
    struct byre_luks_header header;
    uint32_t bytes;

    (void)state;
    new_header(&small, &header, &master);
    bytes = byre_luks_material_bytes(&header);
    assert_int_equal(bytes, 128000);
    material = malloc(bytes);
    copy = malloc(bytes);
    assert_int_equal(byre_luks_slot_seal(&header, 5, master, right, 1, material, NULL), 0);
    assert_true(header.slots[5].active);
    memcpy(copy, material, bytes);
    assert_int_equal(byre_luks_slot_try(&header, 5, wrong, copy, &found, NULL), 0);
    assert_null(found);
    for (uint32_t i = 0; i < bytes; i++)
        assert_int_equal(copy[i], 0); /* it is used up */
    memcpy(copy, material, bytes);
    assert_int_equal(byre_luks_slot_try(&header, 5, right, copy, &found, NULL), 1);
    assert_int_equal(found->length, 32);
    assert_memory_equal(found->bytes, master->bytes, 32);
    byre_secret_free(found);
    byre_secret_free(master);
    byre_secret_free(right);
    byre_secret_free(wrong);
    free(material);
    free(copy);
}

static void too_long_an_iteration_time_is_refused(void **state)
{
    struct byre_luks_options options = small;
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_luks_header header;
    struct byre_secret *master = NULL;

    (void)state;
    options.iter_time = UINT64_MAX;
    assert_int_equal(byre_luks_header_new(&options, &header, &master, &err), -ERANGE);
    assert_non_null(strstr(err.text, "PBKDF iterations"));
    options.iter_time = UINT32_MAX;
    assert_int_equal(byre_luks_header_new(&options, &header, &master, &err), -ERANGE);
    assert_null(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_comes_back_as_it_was),
        cmocka_unit_test(hostile_fields_are_refused_by_name),
        cmocka_unit_test(random_headers_do_no_harm),
        cmocka_unit_test(splitter_merges_as_known),
        cmocka_unit_test(slot_opens_with_its_password_only),
        cmocka_unit_test(too_long_an_iteration_time_is_refused),
    };

    return cmocka_run_group_tests_name("luks", tests, NULL, NULL);
}
