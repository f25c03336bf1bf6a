/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of snapshots as names of directories.
 */
#include "config.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "fuse/snapshot_name.h"

struct named {
    const char *id, *name, *wanted;
};

static void assert_fit(char *const *names, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_in_range(strlen(names[i]), 1, NAME_MAX);
        assert_null(strchr(names[i], '/'));
        assert_string_not_equal(names[i], ".");
        assert_string_not_equal(names[i], "..");
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
    }
}

static char **names_of(const struct named *list, unsigned count)
{
    struct byre_snapshot_info *snapshots = calloc(count + 1, sizeof *snapshots);
    char **names;

    assert_non_null(snapshots);
    for (unsigned i = 0; i < count; i++) {
        snapshots[i].id = (char *)list[i].id;
        snapshots[i].name = (char *)list[i].name;
    }
    names = byre_snapshot_names(snapshots, count);
    assert_non_null(names);
    free(snapshots);
    assert_fit(names, count);
    return names;
}

static void free_names(char **names, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static void assert_names(const struct named *list, unsigned count)
{
    char **names = names_of(list, count);

    for (unsigned i = 0; i < count; i++)
        assert_string_equal(names[i], list[i].wanted);
    free_names(names, count);
}

static void names_none_is_a_list(void **state)
{
    (void)state;
    free_names(names_of(NULL, 0), 0);
}

static void names_unfit_are_escaped(void **state)
{
    static const struct named list[] = {
        { "1", "monday", "monday" },
        { "2", "a/b//c", "a%2fb%2f%2fc" },
        { "3", "/", "%2f" },
        { "4", ".", "%2e" },
        { "5", "..", "%2e%2e" },
        { "6", "...", "..." },
        { "7", ".hidden", ".hidden" },
        { "8", "100%", "100%25" },
        { "9", "new\nline\177", "new%0aline%7f" },
        { "10", "id=9", "%69d=9" },
        { "11", "a#b", "a#b" },
        { "12", "latin\351", "latin\351" }, /* no UTF-8: a directory can have any bytes */
        { "13", "caf\303\251", "caf\303\251" },
        { "14", " ", " " },
    };

    (void)state;
    assert_names(list, ARRAY_LEN(list));
}

static void names_empty_or_equal_are_ids(void **state)
{
    static const struct named list[] = {
        { "1", "same", "same" },
        { "2", "same", "id=2" },
        { "3", "", "id=3" },
        { "../4", "same", "id=..%2f4" },
        { "a#b", "", "id=a%23b" },
    };

    (void)state;
    assert_names(list, ARRAY_LEN(list));
}

/* What a name becomes may be the name of another one, which is escaped itself. */
static void names_equal_only_when_escaped_stay_apart(void **state)
{
    static const struct named list[] = {
        { "1", "a/b", "a%2fb" },
        { "2", "a%2fb", "a%252fb" },
        { "3", "..", "%2e%2e" },
        { "4", "%2e%2e", "%252e%252e" },
        { "5", "id=1", "%69d=1" },
        { "6", "%69d=1", "%2569d=1" },
        { "7", "", "id=7" },
        { "8", "id=7", "%69d=7" },
    };

    (void)state;
    assert_names(list, ARRAY_LEN(list));
}

static void names_of_equal_ids_are_numbered(void **state)
{
    static const struct named list[] = {
        { "1", "same", "same" }, { "1", "same", "id=1" },     { "1", "same", "id=1#3" },
        { "", "", "id=" },       { "", "", "id=#5" },         { "1#3", "same", "id=1%233" },
        { "1", "", "id=1#7" },
    };

    (void)state;
    assert_names(list, ARRAY_LEN(list));
}

/* 255 bytes are a name, also where escapes make that many; 256 are none. */
static void names_too_long_are_ids(void **state)
{
    char fits[NAME_MAX + 1], longer[NAME_MAX + 2], slashes[NAME_MAX / 3 + 1], more[NAME_MAX / 3 + 2], id[1001];
    const struct named list[] = {
        { "1", fits, NULL }, { "2", longer, NULL }, { "3", slashes, NULL },
        { "4", more, NULL }, { id, longer, NULL },  { id, longer, NULL },
    };
    char **names;

    (void)state;
    memset(fits, 'x', NAME_MAX);
    fits[NAME_MAX] = '\0';
    memset(longer, 'y', NAME_MAX + 1);
    longer[NAME_MAX + 1] = '\0';
    memset(slashes, '/', NAME_MAX / 3);
    slashes[NAME_MAX / 3] = '\0';
    memset(more, '/', NAME_MAX / 3 + 1);
    more[NAME_MAX / 3 + 1] = '\0';
    memset(id, 'z', 1000);
    id[1000] = '\0';
    names = names_of(list, ARRAY_LEN(list));
    assert_string_equal(names[0], fits);
    assert_string_equal(names[1], "id=2");
    assert_int_equal(strlen(names[2]), NAME_MAX);
    assert_string_equal(names[3], "id=4");
    assert_string_equal(names[4] + strlen(names[4]) - 3, "z#5");
    assert_string_equal(names[5] + strlen(names[5]) - 3, "z#6");
    free_names(names, ARRAY_LEN(list));
}

/* Many short texts of few letters: names and ids meet in all ways. */
static void names_drawn_are_fit_and_once(void **state)
{
    const char *given = getenv("BYRE_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    static char texts[400][2][8];
    static struct named list[400];

    (void)state;
    printf("BYRE_SEED=%u\n", seed);
    srandom(seed);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < ARRAY_LEN(list); i++) {
            for (unsigned side = 0; side < 2; side++) {
                unsigned length = (unsigned)random() % 6;

                for (unsigned k = 0; k < length; k++)
                    texts[i][side][k] = "id=1#%/.2f"[random() % 10];
                texts[i][side][length] = '\0';
            }
            list[i] = (struct named){ texts[i][0], texts[i][1], NULL };
        }
        free_names(names_of(list, ARRAY_LEN(list)), ARRAY_LEN(list));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_none_is_a_list),
        cmocka_unit_test(names_unfit_are_escaped),
        cmocka_unit_test(names_empty_or_equal_are_ids),
        cmocka_unit_test(names_equal_only_when_escaped_stay_apart),
        cmocka_unit_test(names_of_equal_ids_are_numbered),
        cmocka_unit_test(names_too_long_are_ids),
        cmocka_unit_test(names_drawn_are_fit_and_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
