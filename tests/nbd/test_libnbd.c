/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server against libnbd: each command with each of its flags, hundreds of them under way, several connections, and
 * drawn requests against a disk in memory.  The seed is printed.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../unit/disk_fixture.h"
#include "byre/check.h"
#include "server_fixture.h"

#ifdef HAVE_LIBNBD
#include <libnbd.h>

#define K 1024u
#define M (1024u * K)

enum { CONNECTIONS = 4, SIZE = 8 * M };

static struct server server;

/* A libnbd call that must not fail. */
#define ok(call)                                              \
    ({                                                        \
        __typeof__(call) ok_result = (call);                  \
        if (ok_result < 0)                                    \
            fail_msg("%s: %s", #call, nbd_get_error());       \
        ok_result;                                            \
    })

/* A libnbd call that the server refuses with this errno. */
#define refused(number, call)                                 \
    do {                                                      \
        assert_int_equal(call, -1);                           \
        assert_int_equal(nbd_get_errno(), number);            \
    } while (0)

static struct nbd_handle *join(void)
{
    struct nbd_handle *handle = nbd_create();

    assert_non_null(handle);
    ok(nbd_add_meta_context(handle, "base:allocation"));
    ok(nbd_set_strict_mode(handle, 0)); /* what is wrong is for the server to find */
    ok(nbd_connect_unix(handle, path("socket")));
    return handle;
}

static void leave(struct nbd_handle *handle)
{
    ok(nbd_shutdown(handle, 0));
    nbd_close(handle);
}

static void serve_disk(struct byre_disk *disk)
{
    const struct byre_nbd_export_options options = { .name = "", .shared = true };

    server_init(&server);
    server_add(&server, disk, &options);
    server_start(&server, path("socket"));
}

static void assert_sound(const char *name)
{
    struct byre_check_options options = { .format = NULL };
    struct byre_check_result result;

    must(byre_check(name, &options, &result, err));
    assert_int_equal(result.corruptions + result.check_errors, 0);
}

/* --- each command ------------------------------------------------------------------------------------------ */

struct seen {
    unsigned count;
    uint32_t entries[2 * 64];
    unsigned calls;
};

static int see(void *opaque, const char *context, uint64_t goff, uint32_t *entries, size_t count, int *error)
{
    struct seen *seen = opaque;

    (void)goff;
    assert_int_equal(*error, 0);
    assert_string_equal(context, "base:allocation");
    assert_true(count <= 128);
    memcpy(seen->entries, entries, count * sizeof *entries);
    seen->count = (unsigned)count / 2;
    seen->calls++;
    return 0;
}

static struct seen status(struct nbd_handle *handle, uint64_t length, uint64_t goff, uint32_t flags)
{
    struct seen seen = { 0 };

    ok(nbd_block_status(handle, length, goff, (nbd_extent_callback){ .callback = see, .user_data = &seen }, flags));
    assert_int_equal(seen.calls, 1);
    return seen;
}

static void commands_do_what_their_flags_say(void **state)
{
    static uint8_t data[256 * K];
    struct nbd_handle *handle;
    struct byre_disk *disk;
    struct seen seen;

    (void)state;
    make_image(path("disk"), SIZE, 64 * K, NULL, NULL);
    disk = open_disk(path("disk"), true);
    serve_disk(disk);
    handle = join();
    assert_int_equal(nbd_get_size(handle), SIZE);
    assert_int_equal(nbd_can_multi_conn(handle), 1);
    assert_int_equal(nbd_can_fast_zero(handle), 1);

    memset(data, 5, sizeof data);
    ok(nbd_pwrite(handle, data, 100 * K, 1000, 0));
    ok(nbd_pwrite(handle, data, 64 * K, 2 * M, LIBNBD_CMD_FLAG_FUA));
    expect(disk, 1000, 100 * K, 5);
    expect(disk, 0, 1000, 0);
    memset(data, 0xee, sizeof data);
    ok(nbd_pread(handle, data, 2000, 0, 0));
    for (unsigned i = 0; i < 2000; i++)
        assert_int_equal(data[i], i < 1000 ? 0 : 5);
    ok(nbd_pread(handle, data, 128 * K, 2 * M, LIBNBD_CMD_FLAG_DF));
    assert_int_equal(data[0] + data[64 * K - 1] + data[64 * K], 10);
    seen = status(handle, SIZE, 0, 0);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.entries[0], 128 * K);
    assert_int_equal(seen.entries[1], 0);
    assert_int_equal(seen.entries[3], 3);
    seen = status(handle, SIZE - 100, 100, LIBNBD_CMD_FLAG_REQ_ONE);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.entries[0], 128 * K - 100);

    /* zeros: with the space given back, or kept; fast, or not at all */
    ok(nbd_zero(handle, 64 * K, 2 * M, LIBNBD_CMD_FLAG_NO_HOLE | LIBNBD_CMD_FLAG_FUA));
    expect(disk, 2 * M, 64 * K, 0);
    assert_int_equal(kind_at(disk, 2 * M), BYRE_EXTENT_ZERO);
    ok(nbd_zero(handle, 64 * K, 0, LIBNBD_CMD_FLAG_FAST_ZERO));
    expect(disk, 0, 64 * K, 0);
    ok(nbd_zero(handle, 10, 64 * K + 5, 0));
    expect(disk, 64 * K + 5, 10, 0);
    expect(disk, 64 * K + 15, 1000, 5);
    refused(ENOTSUP, nbd_zero(handle, 10, 64 * K + 20, LIBNBD_CMD_FLAG_FAST_ZERO));
    expect(disk, 64 * K + 15, 1000, 5);

    ok(nbd_trim(handle, 64 * K, 64 * K, 0));
    assert_int_equal(kind_at(disk, 64 * K) == BYRE_EXTENT_DATA, false);
    ok(nbd_pwrite(handle, data, 64 * K, 3 * M, 0));
    ok(nbd_trim(handle, 64 * K, 3 * M, LIBNBD_CMD_FLAG_FUA));
    expect(disk, 3 * M, 64 * K, 0);
    ok(nbd_cache(handle, SIZE, 0, 0));
    ok(nbd_flush(handle, 0));
    /* FUA is a flag of all commands */
    ok(nbd_flush(handle, LIBNBD_CMD_FLAG_FUA));
    ok(nbd_pread(handle, data, 512, 0, LIBNBD_CMD_FLAG_FUA));
    ok(nbd_cache(handle, 512, 0, LIBNBD_CMD_FLAG_FUA));

    refused(EINVAL, nbd_pread(handle, data, 512, 0, LIBNBD_CMD_FLAG_NO_HOLE));
    refused(EINVAL, nbd_pread(handle, data, 512, SIZE, 0));
    refused(EINVAL, nbd_pread(handle, data, 512, UINT64_MAX - 100, 0));
    refused(ENOSPC, nbd_pwrite(handle, data, 513, SIZE - 512, 0));
    refused(EINVAL, nbd_pwrite(handle, data, 512, 0, LIBNBD_CMD_FLAG_FAST_ZERO));
    refused(EINVAL, nbd_trim(handle, 512, 0, LIBNBD_CMD_FLAG_NO_HOLE));
    refused(EINVAL, nbd_trim(handle, 512, SIZE, 0));
    refused(ENOSPC, nbd_zero(handle, 512, SIZE, 0));
    refused(EINVAL, nbd_zero(handle, 0, 0, 0));
    refused(EINVAL, nbd_cache(handle, 512, SIZE, 0));
    leave(handle);
    server_stop(&server);
    assert_sound(path("disk"));
}

static void a_read_only_export_is_not_changed(void **state)
{
    const struct byre_nbd_export_options options = { .name = "", .read_only = true };
    static uint8_t data[512];
    struct nbd_handle *handle;

    (void)state;
    make_image(path("disk"), SIZE, 64 * K, NULL, NULL);
    server_init(&server);
    server_add(&server, open_disk(path("disk"), false), &options);
    server_start(&server, path("socket"));
    handle = join();
    assert_int_equal(nbd_is_read_only(handle), 1);
    assert_int_equal(nbd_can_multi_conn(handle), 0);
    assert_int_equal(nbd_can_trim(handle) + nbd_can_zero(handle), 0);
    refused(EPERM, nbd_pwrite(handle, data, 512, 0, 0));
    refused(EPERM, nbd_zero(handle, 512, 0, 0));
    refused(EPERM, nbd_trim(handle, 512, 0, LIBNBD_CMD_FLAG_FUA));
    ok(nbd_flush(handle, 0));
    ok(nbd_pread(handle, data, 512, 0, LIBNBD_CMD_FLAG_FUA));
    leave(handle);
    server_stop(&server);
}

/* --- many at a time ---------------------------------------------------------------------------------------- */

/* What is under way. */
struct wish {
    enum { READ, WRITE, ZERO, TRIM, CACHE, STATUS, FLUSH, KINDS } kind;
    uint64_t goff;
    uint32_t length, flags;
    uint8_t *data;
    unsigned answers;
    int error;
    uint64_t described; /* status: by the extents */
    bool wrong;         /* status: that does not match the model */
};

static uint8_t model[SIZE];

static int answered(void *opaque, int *error)
{
    struct wish *wish = opaque;

    wish->answers++;
    wish->error = *error;
    return 1; /* retire it */
}

/* What is said to be zero is zero. */
static int described(void *opaque, const char *context, uint64_t goff, uint32_t *entries, size_t count, int *error)
{
    struct wish *wish = opaque;

    (void)context;
    (void)error;
    for (size_t i = 0; i < count; i += 2) {
        for (uint64_t at = goff; entries[i + 1] & LIBNBD_STATE_ZERO && at < goff + entries[i]; at++)
            wish->wrong = wish->wrong || (at < wish->goff + wish->length && model[at]);
        goff += entries[i];
        wish->described += entries[i];
    }
    return 0;
}

static void start(struct nbd_handle *handle, struct wish *wish)
{
    nbd_completion_callback done = { .callback = answered, .user_data = wish };
    nbd_extent_callback extents = { .callback = described, .user_data = wish };

    switch (wish->kind) {
    case READ: ok(nbd_aio_pread(handle, wish->data, wish->length, wish->goff, done, wish->flags)); break;
    case WRITE: ok(nbd_aio_pwrite(handle, wish->data, wish->length, wish->goff, done, wish->flags)); break;
    case ZERO: ok(nbd_aio_zero(handle, wish->length, wish->goff, done, wish->flags)); break;
    case TRIM: ok(nbd_aio_trim(handle, wish->length, wish->goff, done, wish->flags)); break;
    case CACHE: ok(nbd_aio_cache(handle, wish->length, wish->goff, done, 0)); break;
    case STATUS: ok(nbd_aio_block_status(handle, wish->length, wish->goff, extents, done, wish->flags)); break;
    default: ok(nbd_aio_flush(handle, done, 0)); break;
    }
}

static void finish(struct nbd_handle *handle)
{
    while (nbd_aio_in_flight(handle) > 0)
        assert_int_equal(ok(nbd_poll(handle, 120000)), 1);
}

/* Many more than are done at once: each is answered, with its own data, and once. */
static void each_of_many_is_answered_once(void **state)
{
    enum { COUNT = 1500, LENGTH = 4096 };
    static struct wish wishes[COUNT];
    struct nbd_handle *handle;

    (void)state;
    make_image(path("disk"), SIZE, 64 * K, NULL, NULL);
    serve_disk(open_disk(path("disk"), true));
    handle = join();
    memset(wishes, 0, sizeof wishes);
    for (unsigned i = 0; i < COUNT; i++) {
        wishes[i] = (struct wish){ .kind = WRITE, .goff = i * LENGTH, .length = LENGTH, .data = malloc(LENGTH) };
        assert_non_null(wishes[i].data);
        memset(wishes[i].data, (int)(i % 251 + 1), LENGTH);
        start(handle, &wishes[i]);
    }
    assert_true(nbd_aio_in_flight(handle) > 128);
    finish(handle);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(wishes[i].answers, 1);
        assert_int_equal(wishes[i].error, 0);
        wishes[i].answers = 0;
        /* long reads, which workers do, between short ones */
        wishes[i].kind = i % 7 == 0 ? STATUS : READ;
        memset(wishes[i].data, 0, LENGTH);
        start(handle, &wishes[i]);
    }
    finish(handle);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(wishes[i].answers, 1);
        assert_int_equal(wishes[i].error, 0);
        for (unsigned at = 0; wishes[i].kind == READ && at < LENGTH; at++)
            assert_int_equal(wishes[i].data[at], i % 251 + 1);
        free(wishes[i].data);
    }
    leave(handle);
    server_stop(&server);
    assert_sound(path("disk"));
}

/* --- drawn requests ---------------------------------------------------------------------------------------- */

static void draw(struct wish *wish, uint64_t low, uint64_t high)
{
    static const uint32_t zero_flags[] = { 0, LIBNBD_CMD_FLAG_FUA, LIBNBD_CMD_FLAG_NO_HOLE, LIBNBD_CMD_FLAG_FAST_ZERO };
    unsigned number = (unsigned)random_below(20);

    wish->kind = number < 7 ? WRITE : number < 12 ? READ : (int)(ZERO + random_below(KINDS - ZERO));
    wish->goff = low + random_below(high - low);
    wish->length = 1 + (uint32_t)random_below(high - wish->goff);
    if (random_below(2)) { /* aligned */
        wish->goff = byre_round_down(wish->goff, 512);
        wish->goff = wish->goff < low ? low : wish->goff;
        wish->length = (uint32_t)MIN(byre_round_up(wish->length, 512), high - wish->goff);
    }
    wish->data = malloc(wish->length);
    assert_non_null(wish->data);
    if (wish->kind == WRITE)
        random_fill(wish->data, wish->length);
    switch (wish->kind) {
    case WRITE:
    case TRIM: wish->flags = random_below(4) ? 0 : LIBNBD_CMD_FLAG_FUA; break;
    case ZERO: wish->flags = zero_flags[random_below(4)] | zero_flags[random_below(4)]; break;
    case READ: wish->flags = random_below(4) ? 0 : LIBNBD_CMD_FLAG_DF; break;
    case STATUS: wish->flags = random_below(4) ? 0 : LIBNBD_CMD_FLAG_REQ_ONE; break;
    default: break;
    }
}

/* What was trimmed is what it was, or zero. */
static void judge_trim(struct nbd_handle *handle, const struct wish *wish)
{
    ok(nbd_pread(handle, wish->data, wish->length, wish->goff, 0));
    for (uint32_t i = 0; i < wish->length; i++) {
        if (wish->data[i] && wish->data[i] != model[wish->goff + i])
            fail_msg("trimmed: byte %llu is %#x", (unsigned long long)wish->goff + i, wish->data[i]);
        model[wish->goff + i] = wish->data[i];
    }
}

static void judge(struct nbd_handle *handle, struct wish *wish)
{
    bool slow = wish->kind == ZERO && wish->flags & LIBNBD_CMD_FLAG_FAST_ZERO && wish->error == ENOTSUP;

    assert_int_equal(wish->answers, 1);
    if (wish->error && !slow)
        fail_msg("request of kind %d, flags %#x, %u bytes at %llu: error %d", wish->kind, wish->flags, wish->length,
                 (unsigned long long)wish->goff, wish->error);
    if (wish->kind == WRITE)
        memcpy(model + wish->goff, wish->data, wish->length);
    else if (wish->kind == ZERO && !slow)
        memset(model + wish->goff, 0, wish->length);
    else if (wish->kind == READ && memcmp(model + wish->goff, wish->data, wish->length) != 0)
        fail_msg("read: %u bytes at %llu differ", wish->length, (unsigned long long)wish->goff);
    else if (wish->kind == TRIM)
        judge_trim(handle, wish);
    else if (wish->kind == STATUS)
        assert_true(!wish->wrong && wish->described && wish->described <= wish->length);
    free(wish->data);
}

/* Requests that are under way together are about disjoint ranges, wherever their ends are. */
static void play(struct nbd_handle *handles[CONNECTIONS], unsigned rounds)
{
    static struct wish wishes[200];

    for (unsigned round = 0; round < rounds; round++) {
        unsigned count = 1 + (unsigned)random_below(ARRAY_LEN(wishes));
        uint64_t part = SIZE / count;

        memset(wishes, 0, sizeof wishes);
        for (unsigned i = 0; i < count; i++) {
            draw(&wishes[i], i * part, i * part + (random_below(3) ? MIN(part, (uint64_t)70000) : part));
            start(handles[random_below(CONNECTIONS)], &wishes[i]);
        }
        for (unsigned i = 0; i < CONNECTIONS; i++)
            finish(handles[i]);
        for (unsigned i = 0; i < count; i++)
            judge(handles[random_below(CONNECTIONS)], &wishes[i]);
    }
}

static void assert_same_as_model(const char *name, const char *format)
{
    const struct byre_open_options options = { .format = format };
    uint8_t *data = malloc(SIZE);
    struct byre_disk *disk;

    assert_non_null(data);
    must(byre_open(name, &options, &disk, err));
    must(byre_pread(disk, data, SIZE, 0, err));
    for (unsigned i = 0; i < SIZE; i++) {
        if (data[i] != model[i])
            fail_msg("byte %u is %#x and not %#x", i, data[i], model[i]);
    }
    close_disk(disk);
    free(data);
}

static void play_on(const char *name, const char *format, unsigned rounds)
{
    const struct byre_open_options options = { .format = format, .writable = true };
    struct nbd_handle *handles[CONNECTIONS];
    struct byre_disk *disk;

    must(byre_open(path(name), &options, &disk, err));
    must(byre_pread(disk, model, SIZE, 0, err));
    serve_disk(disk);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        handles[i] = join();
    play(handles, rounds);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        leave(handles[i]);
    server_stop(&server);
    assert_same_as_model(path(name), format);
    if (strcmp(format, "qcow2") == 0)
        assert_sound(path(name));
}

static void drawn_requests_change_the_disk_as_a_model(void **state)
{
    unsigned rounds = getenv("BYRE_LONG") ? 2000 : 30;
    static uint8_t old[SIZE];
    struct byre_disk *disk;

    (void)state;
    random_start();
    random_fill(old, sizeof old);
    write_file(path("base"), old, sizeof old);
    make_image(path("plain"), SIZE, 64 * K, NULL, NULL);
    make_image(path("small"), SIZE, 512, NULL, NULL);
    make_image(path("overlay"), SIZE, 4096, path("base"), "raw");
    make_extended_image(path("extended"), SIZE, 64 * K, path("base"), "raw");
    disk = open_disk(path("plain"), true);
    put(disk, 0, 3 * M, 9);
    close_disk(disk);
    play_on("plain", "qcow2", rounds);
    play_on("small", "qcow2", rounds);
    play_on("overlay", "qcow2", rounds);
    play_on("extended", "qcow2", rounds);
    play_on("base", "raw", rounds);
}

/* --- a server that is killed ------------------------------------------------------------------------------- */

static struct byre_disk *open_served(void *opaque)
{
    return open_disk(opaque, true);
}

/* What one connection wrote is there once another one has flushed; what has FUA is there when it is answered. */
static void flushed_data_survives_a_kill(void **state)
{
    const struct byre_nbd_export_options options = { .name = "", .shared = true };
    static uint8_t data[256 * K];
    static struct wish load[100];

    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        struct nbd_handle *one, *other;
        char *name = strdup(path("disk"));
        struct byre_disk *disk;

        (void)unlink(name);
        make_image(name, SIZE, round % 2 ? 4096 : 64 * K, NULL, NULL);
        server_init(&server);
        server_start_child(&server, path("socket"), open_served, name, &options);
        one = join();
        other = join();
        memset(data, 6, sizeof data);
        ok(nbd_pwrite(one, data, sizeof data, 1000, 0));
        ok(nbd_zero(one, 64 * K, 64 * K, 0));
        ok(nbd_flush(other, 0));
        ok(nbd_pwrite(one, data, 64 * K, 4 * M, LIBNBD_CMD_FLAG_FUA));
        ok(nbd_trim(one, 64 * K, 0, LIBNBD_CMD_FLAG_FUA));
        ok(nbd_zero(one, 64 * K, 4 * M + 32 * K, LIBNBD_CMD_FLAG_FUA));
        /* and it is killed with all hands full */
        memset(load, 0, sizeof load);
        for (unsigned i = 0; i < ARRAY_LEN(load); i++) {
            load[i] = (struct wish){ .kind = i % 9 ? WRITE : FLUSH, .goff = 5 * M + i * 20000, .length = 20000 };
            load[i].data = data;
            start(i % 2 ? one : other, &load[i]);
        }
        server_kill(&server);
        nbd_close(one);
        nbd_close(other);
        assert_sound(name);
        disk = open_disk(name, true);
        expect(disk, 0, 128 * K, 0);
        expect(disk, 128 * K, 128 * K + 1000, 6);
        expect(disk, 256 * K + 1000, 4096, 0);
        expect(disk, 4 * M, 32 * K, 6);
        expect(disk, 4 * M + 32 * K, 64 * K, 0);
        close_disk(disk);
        assert_sound(name);
        free(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flushed_data_survives_a_kill), /* first: it forks, and threads are not for that */
        TEST(commands_do_what_their_flags_say),
        TEST(a_read_only_export_is_not_changed),
        TEST(each_of_many_is_answered_once),
        TEST(drawn_requests_change_the_disk_as_a_model),
    };

    return cmocka_run_group_tests_name("nbd_libnbd", tests, NULL, NULL);
}

#else

int main(void)
{
    printf("byre was built without libnbd\n");
    return 0;
}

#endif
