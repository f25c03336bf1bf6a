/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Showing progress.  Invariants:
 * P1. `state.lock` guards everything in `state` and every write of progress to a stream.
 * P2. SIGUSR1 is blocked in all threads; the watcher thread takes it with sigwait, so printing needs no
 *     async-signal-safe code and answers even while the work itself is stuck in a system call.
 */
#include "config.h"

#include "cli/progress.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/message.h"

static struct {
    pthread_mutex_t lock;
    enum byre_progress_mode mode;
    const char *what;
    bool running;
    bool line_shown;      /* a terminal's line stands on the screen */
    bool have_watcher;
    uint64_t done, total; /* total 0: not known yet */
    double shown;         /* percent that were shown last */
    struct timespec when; /* of the last line */
    pthread_t watcher;
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGUSR1);
}

void byre_progress_block_signal(void)
{
    sigset_t set;

    signal_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

enum byre_progress_mode byre_progress_choose(bool percent, bool quiet)
{
    if (quiet)
        return BYRE_PROGRESS_QUIET;
    if (percent)
        return BYRE_PROGRESS_PERCENT;
    return !byre_program_is_qemu() && isatty(STDERR_FILENO) ? BYRE_PROGRESS_LINE : BYRE_PROGRESS_QUIET;
}

static double percent_locked(void)
{
    return state.total ? 100.0 * (double)state.done / (double)state.total : 0.0;
}

static void show_percent_locked(void)
{
    state.shown = percent_locked();
    printf("    (%3.2f/100%%)\r", state.shown);
    fflush(stdout);
}

static void clear_line_locked(void)
{
    if (state.line_shown)
        fputs("\r\033[K", stderr);
    state.line_shown = false;
}

/* At most ten times a second: a terminal may be slow. */
static void show_line_locked(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (state.line_shown &&
        (now.tv_sec - state.when.tv_sec) * 1000000000L + (now.tv_nsec - state.when.tv_nsec) < 100000000L)
        return;
    state.when = now;
    state.shown = percent_locked();
    fprintf(stderr, "\r%s: %5.1f %%\033[K", state.what, state.shown);
    state.line_shown = true;
}

static void *watch(void *opaque)
{
    sigset_t set;
    int sig;

    (void)opaque;
    signal_set(&set);
    while (sigwait(&set, &sig) == 0) {
        pthread_mutex_lock(&state.lock);
        if (!state.running) {
            pthread_mutex_unlock(&state.lock);
            break;
        }
        if (state.mode != BYRE_PROGRESS_PERCENT) {
            clear_line_locked();
            fprintf(stderr, "    (%3.2f/100%%)\n", percent_locked());
        }
        pthread_mutex_unlock(&state.lock);
    }
    return NULL;
}

void byre_progress_start(enum byre_progress_mode mode, const char *what)
{
    pthread_mutex_lock(&state.lock);
    state.mode = mode;
    state.what = what;
    state.running = true;
    state.line_shown = false;
    state.done = state.total = 0;
    if (mode == BYRE_PROGRESS_PERCENT)
        show_percent_locked();
    pthread_mutex_unlock(&state.lock);
    /* Without a watcher SIGUSR1 stays unanswered; the work is not worth failing for that. */
    state.have_watcher = pthread_create(&state.watcher, NULL, watch, NULL) == 0;
}

void byre_progress_report(void *opaque, uint64_t done, uint64_t total)
{
    double percent;

    (void)opaque;
    pthread_mutex_lock(&state.lock);
    /* Reports of several threads may overtake each other. */
    if (state.running && (done > state.done || total != state.total)) {
        state.done = done;
        state.total = total;
        percent = percent_locked();
        if (state.mode == BYRE_PROGRESS_LINE)
            show_line_locked();
        else if (state.mode == BYRE_PROGRESS_PERCENT &&
                 (percent >= state.shown + 1.0 || (done == total && state.shown < 100.0)))
            show_percent_locked();
    }
    pthread_mutex_unlock(&state.lock);
}

void byre_progress_stop(bool complete)
{
    bool ran;

    pthread_mutex_lock(&state.lock);
    ran = state.running;
    state.running = false;
    clear_line_locked();
    if (ran && state.mode == BYRE_PROGRESS_PERCENT) {
        if (complete) {
            state.done = state.total = 1;
            show_percent_locked();
        }
        putchar('\n');
    }
    pthread_mutex_unlock(&state.lock);
    if (ran && state.have_watcher) {
        pthread_kill(state.watcher, SIGUSR1);
        pthread_join(state.watcher, NULL);
    }
}

void byre_progress_clear_line(void)
{
    pthread_mutex_lock(&state.lock);
    clear_line_locked();
    pthread_mutex_unlock(&state.lock);
}
