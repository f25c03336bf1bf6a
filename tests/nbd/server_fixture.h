/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server in a thread of the test, or in a child that can be killed, at a UNIX socket; and a client that says what the
 * test wants and shows what comes, byte by byte.  What must not fail ends the program with words.
 */
#ifndef TESTS_NBD_SERVER_FIXTURE_H
#define TESTS_NBD_SERVER_FIXTURE_H

#include <pthread.h>
#include <sys/types.h>

#include "nbd/protocol.h"
#include "nbd/server.h"

struct server {
    struct byre_nbd_exports exports;
    byre_nbd_sockets sockets;
    int signals[2]; /* a pipe that stands for the signals to the server */
    struct byre_nbd_server_options options;
    pthread_t thread;
    pid_t child; /* or 0 */
    int result;
};

/* With no exports. */
void server_init(struct server *server);
/* Takes the disk. */
void server_add(struct server *server, struct byre_disk *disk, const struct byre_nbd_export_options *options);
/* Serves at the path, for good, with two loops. */
void server_start(struct server *server, const char *path);
/* The same in a child of this process, which has no threads yet; the disk is opened there. */
void server_start_child(struct server *server, const char *path, struct byre_disk *(*open)(void *opaque), void *opaque,
                        const struct byre_nbd_export_options *options);
/* Ends it in good order: all that was taken is answered, all disks are closed. */
void server_stop(struct server *server);
/* Kills the child, and waits until it is gone. */
void server_kill(struct server *server);

/* --- the client --- */

int client_connect(const char *path);
void client_say(int fd, const void *bytes, size_t length);
/* Exactly so many bytes, within 30 seconds. */
void client_hear(int fd, void *bytes, size_t length);
/* There is nothing more: the server has closed the connection. */
void client_hear_end(int fd);

/* The greeting, and the client's flags. */
void client_greet(int fd);
void client_say_option(int fd, uint32_t option, const void *data, size_t length);
/* The next reply to an option: its type, with up to `room` bytes of data. */
uint32_t client_hear_option(int fd, uint32_t option, void *data, size_t room, size_t *ret_length);
/* Asks for the export with no name; the transmission flags. */
uint16_t client_go(int fd);

struct client_request {
    uint16_t flags, type;
    uint64_t cookie, goff, length;
};

struct client_chunk {
    uint16_t flags, type;
    uint64_t cookie, goff, length; /* goff: with extended headers only */
    uint8_t *payload;              /* malloc'ed */
};

void client_say_request(int fd, bool extended, const struct client_request *request);
/* The next chunk.  Release `payload`. */
void client_hear_chunk(int fd, bool extended, struct client_chunk *ret_chunk);

#endif
