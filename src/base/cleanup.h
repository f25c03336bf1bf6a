/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scoped clean-up: `CLEANUP(free_ptr) char *name = NULL;` releases `name` when the scope ends.
 */
#ifndef BYRE_BASE_CLEANUP_H
#define BYRE_BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(byre_cleanup_##fn)))

/* Frees what a pointer variable of any type points to. */
static inline void byre_cleanup_free_ptr(void *pptr)
{
    free(*(void **)pptr);
}

/* Closes a file descriptor variable unless it is negative. */
static inline void byre_cleanup_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void byre_cleanup_unlock(pthread_mutex_t **mutex)
{
    if (*mutex)
        pthread_mutex_unlock(*mutex);
}

/* Locks `mutex_` until the end of the enclosing scope. */
#define LOCK_SCOPE(mutex_) \
    __attribute__((unused, cleanup(byre_cleanup_unlock))) pthread_mutex_t *lock_scope_ = (mutex_); \
    pthread_mutex_lock(lock_scope_)

/* Takes the value out of a pointer variable, leaving NULL: hands over ownership. */
#define STEAL(ptr) \
    ({ __typeof__(ptr) stolen_ = (ptr); (ptr) = NULL; stolen_; })

#endif
