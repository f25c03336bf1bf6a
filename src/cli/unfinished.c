/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file that a signal removes.  `unfinished` changes only while the signals are put off, so that the handler finds
 * it whole.
 */
#include "config.h"

#include "cli/unfinished.h"

#include <stddef.h>
#include <unistd.h>

#include "base/arith.h"

static struct {
    int directory;
    const char *name;
} unfinished;

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };

/* It comes again when this returns, and has its usual effect then. */
static void remove_and_end(int number)
{
    const struct sigaction usual = { .sa_handler = SIG_DFL };

    if (unfinished.name)
        (void)unlinkat(unfinished.directory, unfinished.name, 0);
    (void)sigaction(number, &usual, NULL);
    (void)raise(number);
}

static void fill(sigset_t *set)
{
    sigemptyset(set);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
        sigaddset(set, signals[i]);
}

void byre_unfinished_watch(void)
{
    struct sigaction action = { .sa_handler = remove_and_end }, before;

    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not be as large is an error of that file */
    fill(&action.sa_mask); /* one of them is enough */
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(signals[i], &action, NULL);
    }
}

void byre_unfinished_hold(sigset_t *ret_before)
{
    sigset_t set;

    fill(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

void byre_unfinished_release(const sigset_t *before)
{
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

void byre_unfinished_set(int directory, const char *name)
{
    unfinished.directory = directory;
    unfinished.name = name;
}
