/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Texts of byre io, as qemu-io has them.
 */
#include "config.h"

#include "cli/io_text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arith.h"
#include "base/size.h"

enum { DUMP_BYTES = 16 };

int byre_io_read_size(const char *text, uint64_t *ret_size)
{
    int r = byre_size_parse(text, 'B', ret_size);

    if (r == -ERANGE)
        printf("Parsing error: argument too large -- %s\n", text);
    else if (r < 0)
        printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n", text);
    return r < 0 ? -1 : 0;
}

int byre_io_read_length(const char *text, uint64_t *ret_length)
{
    uint64_t length;

    if (byre_io_read_size(text, &length) < 0)
        return -1;
    if (length > BYRE_IO_LENGTH_MAX) {
        printf("length cannot exceed %u, given %s\n", BYRE_IO_LENGTH_MAX, text);
        return -1;
    }
    *ret_length = length;
    return 0;
}

/* A number of C within [0, max]: false if it is not one. */
static bool read_long(const char *text, int base, long max, long *ret_number)
{
    char *end;
    long number;

    errno = 0;
    number = strtol(text, &end, base);
    if (end == text || *end || errno || number < 0 || number > max)
        return false;
    *ret_number = number;
    return true;
}

int byre_io_read_pattern(const char *text, uint8_t *ret_pattern)
{
    long number;

    if (!read_long(text, 0, UINT8_MAX, &number)) {
        printf("%s is not a valid pattern byte\n", text);
        return -1;
    }
    *ret_pattern = (uint8_t)number;
    return 0;
}

int byre_io_read_number(const char *text, int *ret_number)
{
    long number;

    if (!read_long(text, 0, INT_MAX, &number)) {
        printf("%s is not a valid number\n", text);
        return -1;
    }
    *ret_number = (int)number;
    return 0;
}

char *byre_io_format_size(double size, char *buf, size_t buf_size)
{
    static const char *const units[] = { " bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB" };
    const char *zeros;
    size_t unit = 0;
    char *fraction;

    for (; size >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        size /= 1024;
    snprintf(buf, buf_size, unit ? "%.3f" : "%f", size);
    zeros = unit ? ".000" : ".000000";
    fraction = strchr(buf, '.');
    if (fraction && strcmp(fraction, zeros) == 0)
        *fraction = '\0';
    snprintf(buf + strlen(buf), buf_size - strlen(buf), "%s", units[unit]);
    return buf;
}

char *byre_io_format_time(double seconds, bool machine, char *buf, size_t buf_size)
{
    uint64_t hundredths = (uint64_t)(seconds * 100);
    unsigned part = (unsigned)(hundredths % 100), s = (unsigned)(hundredths / 100 % 60);
    unsigned m = (unsigned)(hundredths / 6000 % 60);
    uint64_t h = hundredths / 360000;

    if (machine || h || m)
        snprintf(buf, buf_size, "%" PRIu64 ":%02u:%02u.%02u", h, m, s, part);
    else
        snprintf(buf, buf_size, "%02u.%02u sec", s, part);
    return buf;
}

void byre_io_dump(const uint8_t *bytes, uint64_t length, uint64_t offset)
{
    for (uint64_t at = 0; at < length; at += DUMP_BYTES) {
        uint64_t count = MIN(length - at, (uint64_t)DUMP_BYTES);

        printf("%08" PRIx64 ":  ", offset + at);
        for (uint64_t i = 0; i < count; i++)
            printf("%02x ", bytes[at + i]);
        putchar(' ');
        for (uint64_t i = 0; i < count; i++)
            putchar(isalnum(bytes[at + i]) ? bytes[at + i] : '.');
        putchar('\n');
    }
}

double byre_io_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void byre_io_print_report(const struct byre_io_report *report)
{
    double seconds = MAX(report->seconds, 1e-9), length = (double)report->length;
    char time_text[BYRE_IO_TEXT_MAX], size[BYRE_IO_TEXT_MAX], speed[BYRE_IO_TEXT_MAX];

    byre_io_format_time(report->seconds, report->machine, time_text, sizeof time_text);
    if (report->machine) {
        printf("%" PRIu64 ",1,%s,%.3f,%.3f\n", report->length, time_text, length / seconds, 1 / seconds);
        return;
    }
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", report->verb, report->length, report->length,
           report->goff);
    printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", byre_io_format_size(length, size, sizeof size), time_text,
           byre_io_format_size(length / seconds, speed, sizeof speed), 1 / seconds);
}
