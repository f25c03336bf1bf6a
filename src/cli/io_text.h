/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands of byre io read and print: sizes, patterns, dumps, figures.
 */
#ifndef BYRE_CLI_IO_TEXT_H
#define BYRE_CLI_IO_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BYRE_IO_LENGTH_MAX 2147483136u /* bytes of one request */
#define BYRE_IO_TEXT_MAX 64

/* Each returns 0, or -1 after a complaint on standard output. */
int byre_io_read_size(const char *text, uint64_t *ret_size);
/* At most BYRE_IO_LENGTH_MAX. */
int byre_io_read_length(const char *text, uint64_t *ret_length);
/* A byte: decimal, octal or hexadecimal. */
int byre_io_read_pattern(const char *text, uint8_t *ret_pattern);
/* A number that is not negative. */
int byre_io_read_number(const char *text, int *ret_number);

/* "512 bytes", "1.500 KiB", "64 MiB". */
char *byre_io_format_size(double size, char *buf, size_t buf_size);
/* "00.01 sec", from a minute on "1:02:03.04"; `machine`: always like the latter. */
char *byre_io_format_time(double seconds, bool machine, char *buf, size_t buf_size);

/* Sixteen bytes a line, in hexadecimal and as text. */
void byre_io_dump(const uint8_t *bytes, uint64_t length, uint64_t offset);

/* The seconds of a clock that only goes forward. */
double byre_io_now(void);

struct byre_io_report {
    const char *verb; /* "read", "wrote", "discard" */
    uint64_t goff, length;
    double seconds;
    bool machine;     /* -C: one line of figures */
};

void byre_io_print_report(const struct byre_io_report *report);

#endif
