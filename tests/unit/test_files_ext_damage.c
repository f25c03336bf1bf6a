/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Damaged file systems of ext: whatever any byte of any block says, there are contents or errors, in bounded time; and
 * many threads that read at once each get the right bytes.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/zero.h"
#include "disk_fixture.h"
#include "ext_fixture.h"

#define VISITS_MAX 300u

static const char *const kinds[] = {
    "-t ext2 -b 1024 -I 128",
    "-t ext4 -b 1024 -O inline_data,extents,^metadata_csum,^has_journal,ea_inode -I 256",
    "-t ext4 -b 1024 -O metadata_csum,64bit,^has_journal",
};

/* --- a walk over all that there is ----------------------------------------------------------------------------- */

struct walk {
    struct byre_files *files;
    uint64_t ids[VISITS_MAX];
    unsigned count, listed;
};

static int note(void *opaque, const struct byre_files_entry *entry)
{
    struct walk *walk = opaque;

    assert_true(*entry->name && !strchr(entry->name, '/'));
    if (walk->count < VISITS_MAX)
        walk->ids[walk->count++] = entry->id;
    return ++walk->listed > 100000;
}

static void visit_data(struct byre_files *files, uint64_t id, uint64_t size)
{
    static uint8_t buf[300000];
    uint64_t at = 0;
    size_t got;

    (void)byre_files_read(files, id, buf, sizeof buf, 0, &got, NULL);
    (void)byre_files_read(files, id, buf, 5000, size > 4000 ? size - 4000 : 1, &got, NULL);
    (void)byre_files_read(files, id, buf, 5000, size / 2, &got, NULL);
    for (unsigned i = 0; i < 20; i++) {
        if (byre_files_seek(files, id, at, i % 2, &at, NULL) < 0)
            break;
    }
}

static void visit(struct walk *walk, uint64_t id)
{
    size_t length;
    uint64_t found;
    struct byre_file file;
    char *text = NULL;
    void *value = NULL;

    if (byre_files_stat(walk->files, id, &file, NULL) < 0)
        return;
    if (byre_files_xattr_list(walk->files, id, &text, &length, NULL) == 0) {
        for (size_t at = 0; at < length; at += strlen(text + at) + 1) {
            size_t value_length;

            if (byre_files_xattr_get(walk->files, id, text + at, &value, &value_length, NULL) == 0)
                free(value);
        }
        free(text);
    }
    (void)byre_files_list(walk->files, id, 0, note, walk, NULL);
    (void)byre_files_list(walk->files, id, random_below(4096), note, walk, NULL);
    (void)byre_files_lookup(walk->files, id, "name-of-a-file-7", &found, NULL);
    if (byre_files_readlink(walk->files, id, &text, NULL) == 0)
        free(text);
    visit_data(walk->files, id, file.size);
}

/* Opens what is on the disk, if that is possible, and calls everything for everything.  How many were visited? */
static unsigned walk_over(struct byre_disk *disk)
{
    static struct walk walk;
    struct byre_files_space space;
    struct byre_files_found found;

    walk.count = walk.listed = 0;
    (void)byre_files_probe(disk, 0, byre_get_size(disk), &found, NULL);
    if (byre_files_open(disk, 0, byre_get_size(disk), &walk.files, NULL) < 0)
        return 0;
    (void)byre_files_space(walk.files, &space, NULL);
    walk.ids[walk.count++] = BYRE_FILES_ROOT;
    for (unsigned i = 0; i < walk.count; i++)
        visit(&walk, walk.ids[i]);
    byre_files_close(walk.files);
    return walk.count;
}

/* --- damage ---------------------------------------------------------------------------------------------------- */

static void make_small(const char *options)
{
    run("rm -rf tree && mkdir -p tree/many && i=0; while [ $i -lt 120 ]; do i=$((i + 1)); "
        ": >tree/many/name-of-a-file-$i; done; mkdir -p tree/sub/deep; "
        "ln -s \"$(printf %%0200d 7)\" tree/long; ln -s many tree/short; printf hello >tree/small");
    for (unsigned i = 0; i < 20; i++) /* an extent each */
        write_pattern("tree/pieces", i * 20000u, 1000);
    write_pattern("tree/far", 70u << 20, 3000);
    run("rm -f disk && mke2fs -q -F -d tree %s -N 200 disk 2M && { e2fsck -fyD disk || [ $? = 1 ]; }", options);
    write_pattern("value", 0, 900);
    run("debugfs -w -R 'ea_set -f value small user.x' disk && debugfs -w -R 'ea_set sub user.y z' disk");
}

static void damage(uint8_t *block, size_t length)
{
    uint64_t how = random_below(8), at = random_below(length);

    if (how == 0)
        memset(block, 0xff, length);
    else if (how == 1)
        memset(block + at, 0, length - at);
    for (unsigned i = 0; how > 1 && i < how; i++, at = random_below(MIN(length, 256u)))
        block[at] = how % 2 ? (uint8_t)(block[at] ^ 1u << random_below(8)) : (uint8_t)random_below(256);
}

static void damage_anywhere_is_nothing_but_errors(void **state)
{
    unsigned rounds = getenv("BYRE_LONG") ? 100 : 3, tried = 0;

    (void)state;
    skip_without_ext();
    random_start();
    for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
        static uint8_t sound[2u << 20], block[1024];
        struct byre_disk *disk;
        int fd;

        make_small(kinds[k]);
        fd = open(path("disk"), O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, sound, sizeof sound, 0), sizeof sound);
        disk = open_disk(path("disk"), false);
        assert_true(walk_over(disk) > 120);
        for (size_t at = 1024; at < sizeof sound * rounds; at += sizeof block) {
            const uint8_t *from = sound + at % sizeof sound;

            memcpy(block, from, sizeof block);
            if (byre_is_zero(block, sizeof block))
                continue;
            damage(block, sizeof block);
            assert_int_equal(pwrite(fd, block, sizeof block, (off_t)(at % sizeof sound)), sizeof block);
            alarm(60); /* each by itself ends soon */
            (void)walk_over(disk);
            tried++;
            assert_int_equal(pwrite(fd, from, sizeof block, (off_t)(at % sizeof sound)), sizeof block);
        }
        alarm(300);
        assert_true(walk_over(disk) > 120);
        close_disk(disk);
        close(fd);
    }
    print_message("# %u damaged file systems\n", tried);
    assert_true(tried > 800);
}

static void checksums_find_a_damaged_bit(void **state)
{
    struct byre_error error = BYRE_ERROR_INIT;
    struct opened opened;
    struct byre_file file;
    char *out = NULL, *end;
    uint8_t byte;
    off_t at;
    size_t length = 0;
    FILE *f;
    int fd;

    (void)state;
    skip_without_ext();
    make_small(kinds[2]);
    run("debugfs -R 'imap small' disk | "
        "sed -n 's/.*block \\([0-9]*\\), offset 0x\\(.*\\)/\\1 \\2/p' >where");
    f = fopen(path("where"), "r");
    assert_true(getline(&out, &length, f) > 0);
    fclose(f);
    opened = open_ext();
    must(byre_files_stat(opened.files, find_file(opened.files, "small"), &file, err));
    close_ext(&opened);
    at = (off_t)strtoul(out, &end, 10) * 1024;
    at += (off_t)strtoul(end, NULL, 16) + 8; /* a time that nobody would miss */
    fd = open(path("disk"), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    opened = open_ext();
    assert_int_equal(byre_files_stat(opened.files, file.id, &file, &error), -EUCLEAN);
    assert_non_null(strstr(error.text, "checksum"));
    must(byre_files_stat(opened.files, find_file(opened.files, "far"), &file, err));
    close_ext(&opened);
    free(out);
}

static void what_is_past_the_end_of_the_disk_is_an_error(void **state)
{
    static uint8_t buf[3000];
    struct opened opened;
    size_t got;
    uint64_t id;

    (void)state;
    skip_without_ext();
    make_small(kinds[0]);
    opened = open_ext();
    id = find_file(opened.files, "far");
    byre_files_close(opened.files);
    close_disk(opened.disk);
    run("truncate -s $(($(debugfs -R 'bmap far 71680' disk 2>/dev/null) * 1024)) disk");
    opened = open_ext();
    assert_int_equal(byre_files_read(opened.files, id, buf, sizeof buf, 70u << 20, &got, NULL), -EIO);
    close_ext(&opened);
}

/* What could not be read once is read when it is asked for again. */
static void an_error_of_the_medium_is_not_remembered(void **state)
{
    struct opened opened;
    struct byre_file file;
    uint64_t id;

    (void)state;
    skip_without_ext();
    for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
        make_small(kinds[k]);
        opened = open_ext();
        watch(opened.disk->layers[0].store);
        watched.fail_read = -EIO;
        assert_int_equal(byre_files_find(opened.files, "many/name-of-a-file-7", 0, &id, NULL), -EIO);
        assert_int_equal(byre_files_find(opened.files, "sub/deep", 0, &id, NULL), -EIO);
        watched.fail_read = 0;
        must(byre_files_find(opened.files, "many/name-of-a-file-7", 0, &id, err));
        must(byre_files_stat(opened.files, id, &file, err));
        must(byre_files_find(opened.files, "sub/deep", 0, &id, err));
        unwatch();
        close_ext(&opened);
    }
}

/* --- threads --------------------------------------------------------------------------------------------------- */

#define THREADS 6u
#define TURNS   (getenv("BYRE_LONG") ? 20000u : 1500u)

struct reader {
    struct byre_files *files;
    uint64_t seed, pieces, far, many;
    unsigned wrong;
};

static void *read_at_random(void *opaque)
{
    struct reader *reader = opaque;
    uint8_t buf[6000];

    for (unsigned i = 0, turns = TURNS; i < turns; i++) {
        uint64_t at = random_from(&reader->seed) % 381000, found;
        char name[64];
        size_t got = 0;

        snprintf(name, sizeof name, "name-of-a-file-%u", (unsigned)(at % 120) + 1);
        reader->wrong += byre_files_lookup(reader->files, reader->many, name, &found, NULL) < 0;
        reader->wrong += byre_files_read(reader->files, reader->pieces, buf, sizeof buf, at, &got, NULL) < 0;
        for (size_t j = 0; j < got; j++)
            reader->wrong += (at + j) % 20000 < 1000 && buf[j] != byte_at(at + j);
        reader->wrong += byre_files_read(reader->files, reader->far, buf, 3000, 70u << 20, &got, NULL) < 0;
        reader->wrong += got != 3000 || buf[at % 3000] != byte_at((70u << 20) + at % 3000);
    }
    return NULL;
}

static void threads_that_read_at_once_get_the_right_bytes(void **state)
{
    (void)state;
    skip_without_ext();
    for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
        struct reader readers[THREADS];
        pthread_t threads[THREADS];
        struct opened opened;

        make_small(kinds[k]);
        opened = open_ext();
        for (unsigned i = 0; i < THREADS; i++) {
            readers[i] = (struct reader){
                .files = opened.files,
                .seed = i + 1,
                .pieces = find_file(opened.files, "pieces"),
                .far = find_file(opened.files, "far"),
                .many = find_file(opened.files, "many"),
            };
            assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &readers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(readers[i].wrong, 0);
        }
        close_ext(&opened);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(damage_anywhere_is_nothing_but_errors),
        TEST(checksums_find_a_damaged_bit),
        TEST(what_is_past_the_end_of_the_disk_is_an_error),
        TEST(an_error_of_the_medium_is_not_remembered),
        TEST(threads_that_read_at_once_get_the_right_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
