/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes seeds for fuzz_options into the directory that is given: names of every kind, some of them wrong.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

static const char *directory;
static unsigned written;

static const char *const names[] = {
    "a.qcow2",
    "./a:b",
    "file:a",
    "host_device:/dev/x",
    "null-co://",
    "null-aio://x",
    "nbd://h/x",
    "blkdebug::a",
    "blkdebug:c:blkdebug::json:{\"driver\":\"null-co\"}",
    "image-opts:driver=qcow2,file.driver=file,file.filename=a,,b,backing=",
    "image-opts:driver=raw,offset=4k,size=1M,file.driver=blkdebug,file.image.filename=a",
    "image-opts:node",
    "image-opts:a,nob,=c,,d,",
    "image-opts:a=\xff\xc3\xa9,\xe2=1",
    "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
    "\"filename\":\"a\\u00e9\\\"\\ud83d\\ude00\"},\"backing\":null}",
    "json:{'driver':'raw','offset':4096,'size':\"1M\",'file.driver':'null-co','file':{'read-zeroes':true}}",
    "json:{\"inject-error\":[{\"event\":\"l1_update\",\"errno\":5},{\"event\":\"x\",\"once\":true}],\"r\":1.5e3}",
    "json:{\"a\":{\"b\":[[[{\"c\":{}}]],{}]},\"\":{\"\":1},\"a.b\":2}",
    "json:{\"a\":1,\"a\":2}",
    "json:{\"a\":-9223372036854775808,\"b\":9223372036854775808}",
    "json:{'a\\'\\",
    "json:[1]",
    "json:",
};

static void fail(const char *what)
{
    fprintf(stderr, "seeds_options: %s\n", what);
    exit(1);
}

static void write_seed(const char *bytes, size_t length)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/options-%04u", directory, written++);
    file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        fail(path);
}

/* Each name with each of its bytes made a character that means something. */
static void write_damaged(const char *name)
{
    static const char meaning[] = "{}[]\"'\\:,.=\x80";
    char copy[512];
    size_t length = strlen(name);

    for (size_t i = 0; i < length; i += 3) {
        memcpy(copy, name, length);
        copy[i] = meaning[i / 3 % (sizeof meaning - 1)];
        write_seed(copy, length);
    }
}

/* Objects in each other, up to and beyond what is allowed. */
static void write_nested(unsigned depth)
{
    char text[4096] = "json:";

    for (unsigned i = 0; i < depth; i++)
        strcat(text, "{\"a\":");
    strcat(text, "1");
    for (unsigned i = 0; i < depth; i++)
        strcat(text, "}");
    write_seed(text, strlen(text));
}

int main(int argc, char **argv)
{
    if (argc != 2)
        fail("usage: seeds_options DIRECTORY");
    directory = argv[1];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        write_seed(names[i], strlen(names[i]));
        write_damaged(names[i]);
    }
    for (unsigned depth = 1; depth < 200; depth += 21)
        write_nested(depth);
    printf("wrote %u seeds\n", written);
    return 0;
}
