#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# `make install DESTDIR=` puts everything below that directory, and a program can be built against it.
. "$(dirname "$0")/../lib.sh"
slow

prefix=$(sed -n 's/^prefix = //p' "$TEST_BUILD/Makefile")
make -s -C "$TEST_BUILD" install DESTDIR="$TEST_DIR/root" >log 2>&1 || { cat log; fail 'make install'; }
find root -type f -o -type l | sed "s,^root$prefix/,," | sort >files
for file in bin/byre include/byre/byre.h include/byre/disk.h lib/libbyre.so lib/libbyre.a \
    lib/pkgconfig/libbyre.pc share/man/man1/byre.1 share/man/man1/byre-convert.1; do
    grep -qx "$file" files || fail "$file is not installed"
done
if has NBDKIT; then
    grep -qx 'lib/.*nbdkit/plugins/nbdkit-byre-plugin.so' files || fail 'the plugin is not installed'
fi
for header in "$TEST_TOP"/include/byre/*.h; do
    grep -qx "include/byre/${header##*/}" files || fail "$header is not installed"
done
! grep '^root' files || fail 'something is installed outside of the prefix'
! grep qemu files || fail 'a name of another program is installed'

export PKG_CONFIG_PATH=$TEST_DIR/root$prefix/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$TEST_DIR/root
export LD_LIBRARY_PATH=$TEST_DIR/root$prefix/lib
cat >user.c <<'END'
#include <stdio.h>
#include <string.h>
#include <byre/byre.h>

int main(void)
{
    struct byre_create_options options = { .format = "qcow2", .size = 1 << 20 };
    struct byre_open_options open_options = { .format = "qcow2", .writable = true };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    char sector[512] = "";

    if (byre_create("user.qcow2", &options, &err) < 0 ||
        byre_open("user.qcow2", &open_options, &disk, &err) < 0 ||
        byre_pwrite(disk, "hello", 5, 1000, &err) < 0 || byre_pread(disk, sector, 512, 900, &err) < 0 ||
        byre_close(disk, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return strcmp(sector + 100, "hello") != 0;
}
END
# The flags are words.
# shellcheck disable=SC2046
{
    ${CC:-cc} -Wall -Werror -o user user.c $(pkg-config --cflags --libs libbyre)
    ${CC:-cc} -Wall -Werror -o user-static user.c $(pkg-config --cflags libbyre) \
        "$LD_LIBRARY_PATH/libbyre.a" $(pkg-config --static --libs-only-l libbyre | sed 's/-lbyre//') -pthread
}
for program in ./user ./user-static; do
    rm -f user.qcow2
    run_ok $program
    assert_clean user.qcow2
    qemu_io -r -f qcow2 -c 'read -q -P 0x68 1000 1' -c 'read -q -P 0x6f 1004 1' user.qcow2
done

# Under its other name it is that program.
ln -s "root$prefix/bin/byre" qemu-img
run_ok ./qemu-img --version
assert_match '^qemu-img version ' "$OUT"

make -s -C "$TEST_BUILD" uninstall DESTDIR="$TEST_DIR/root" >log 2>&1
assert_equal '' "$(find root ! -type d)" 'files that uninstall leaves'
