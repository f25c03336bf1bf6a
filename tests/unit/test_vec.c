/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vectors: growing, reserving, refusing what cannot be allocated.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/vec.h"

struct pair {
    int a, b;
};

static void vec_push_keeps_all_elements(void **state)
{
    VEC(struct pair) v = VEC_INIT;

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(vec_push(&v, (struct pair){ i, -i }), 0);
    assert_int_equal(v.len, 1000);
    assert_true(v.cap >= v.len);
    for (int i = 0; i < 1000; i++)
        assert_true(v.ptr[i].a == i && v.ptr[i].b == -i);
    vec_done(&v);
    assert_null(v.ptr);
    assert_int_equal(v.len + v.cap, 0);
}

static void vec_reserve_makes_room_without_adding(void **state)
{
    VEC(uint64_t) v = VEC_INIT;
    uint64_t *before;

    (void)state;
    assert_int_equal(vec_reserve(&v, 100), 0);
    assert_int_equal(v.len, 0);
    assert_true(v.cap >= 100);
    before = v.ptr;
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(vec_push(&v, i), 0);
    assert_ptr_equal(v.ptr, before);
    vec_done(&v);
}

static void vec_reserve_impossible_leaves_the_vector(void **state)
{
    VEC(struct pair) v = VEC_INIT;

    (void)state;
    assert_int_equal(vec_push(&v, (struct pair){ 1, 2 }), 0);
    assert_int_equal(vec_reserve(&v, SIZE_MAX), -ENOMEM);     /* the sum overflows */
    assert_int_equal(vec_reserve(&v, SIZE_MAX / 4), -ENOMEM); /* the product does */
    assert_int_equal(v.len, 1);
    assert_true(v.ptr[0].a == 1 && v.ptr[0].b == 2);
    vec_done(&v);
}

static void vec_done_vector_is_usable_again(void **state)
{
    VEC(int) v = VEC_INIT;

    (void)state;
    vec_done(&v);
    assert_int_equal(vec_push(&v, 7), 0);
    vec_done(&v);
    assert_int_equal(vec_push(&v, 8), 0);
    assert_true(v.len == 1 && v.ptr[0] == 8);
    vec_done(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vec_push_keeps_all_elements),
        cmocka_unit_test(vec_reserve_makes_room_without_adding),
        cmocka_unit_test(vec_reserve_impossible_leaves_the_vector),
        cmocka_unit_test(vec_done_vector_is_usable_again),
    };

    return cmocka_run_group_tests_name("vec", tests, NULL, NULL);
}
