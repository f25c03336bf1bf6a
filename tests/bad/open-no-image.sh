#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What is no image at all: wrong magic, a directory, nothing of that name, no right to read.
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/bad/bad.bash
. "$TEST_TOP/tests/bad/bad.bash"

make_good good.qcow2

cp good.qcow2 bad.qcow2
put_be32 bad.qcow2 0 0x514649fa
every_verb_refuses 'not in qcow2 format' bad.qcow2 -f qcow2
text 1 100000 >bad.txt
every_verb_refuses 'not in qcow2 format' bad.txt -f qcow2

every_verb_refuses "Could not open '?missing.qcow2.*No such file or directory" missing.qcow2
every_verb_refuses "Could not open '?missing/x.qcow2.*No such file or directory" missing/x.qcow2
every_verb_refuses "Could not open '?good.qcow2/x.*Not a directory" good.qcow2/x

mkdir directory
every_verb_refuses "directory.*(a regular file|Is a directory)" directory
every_verb_refuses "directory.*(a regular file|Is a directory)" directory -f qcow2

every_verb_refuses "[Uu]nknown driver 'qcow7'" good.qcow2 -f qcow7

cp good.qcow2 secret.qcow2
chmod 000 secret.qcow2
if [ "$(id -u)" = 0 ]; then
    # as somebody who is not root, and who can get here
    chmod 755 .
    become=$(command -v setpriv)
    original=$BYRE
    cat >as-nobody <<END
#!/bin/bash
exec $become --reuid=65534 --regid=65534 --clear-groups -- "$original" "\$@"
END
    chmod 755 as-nobody
    if "$become" --reuid=65534 --regid=65534 --clear-groups -- "$original" --version >/dev/null 2>&1; then
        BYRE=$TEST_DIR/as-nobody
    else
        # the program itself is out of nobody's reach: take a copy of it, linked as it is
        mkdir program
        cp "$original" "$(dirname "$original")"/../lib/libbyre.so.* program
        export LD_LIBRARY_PATH=$TEST_DIR/program
        original=$TEST_DIR/program/byre
        sed -i "s|\"[^\"]*\" \"\\\$@\"|\"$original\" \"\$@\"|" as-nobody
        BYRE=$TEST_DIR/as-nobody
    fi
fi
every_verb_refuses "Could not open '?secret.qcow2.*Permission denied" secret.qcow2
