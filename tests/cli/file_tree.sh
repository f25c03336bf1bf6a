# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# A directory with one of each kind of file, disks that hold it, and comparing what comes out of them.

# An access control list as the system call has it: user::rwx user:1234:r-x group::r-x mask::r-x other::---
ACL=0x0200000001000700ffffffff02000500d204000004000500ffffffff10000500ffffffff20000000ffffffff

# make_tree DIRECTORY: what this user may make, with times in the past.
make_tree() {
    local t=$1
    mkdir -p "$t/dir/deeper/deepest" "$t/read-only" "$t/empty"
    echo hello >"$t/hello"
    : >"$t/nothing"
    noise 1 300000 >"$t/dir/noise"
    text 1 5000000 >"$t/dir/deeper/text"
    ln "$t/dir/noise" "$t/dir/deeper/noise-too"
    ln "$t/dir/noise" "$t/noise-three"
    ln -s hello "$t/link"
    ln -s dir/deeper "$t/link-to-dir"
    ln -s /etc/passwd "$t/link-outside"
    ln -s "$(printf 'x%.0s' {1..200})" "$t/link-long"
    truncate -s 9M "$t/sparse"
    noise 2 65536 | put_file "$t/sparse" 1M
    noise 3 65536 | put_file "$t/sparse" 6M
    truncate -s 3M "$t/all-hole"
    echo odd >"$t/$(printf 'new\nline')"
    echo odd >"$t/$(printf 'esc\033[31m')"
    echo odd >"$t/a space and \\"
    echo odd >"$t/caf$(printf '\303\251')"
    echo odd >"$t/latin$(printf '\351')"
    echo odd >"$t/$(printf 'n%.0s' {1..255})"
    echo inside >"$t/read-only/file"
    setfattr -n user.color -v green "$t/hello"
    setfattr -n user.binary -v 0x00ff00 "$t/dir/noise"
    setfattr -n user.of-dir -v 1 "$t/dir"
    setfattr -n system.posix_acl_access -v "$ACL" "$t/nothing"
    chmod 4755 "$t/hello"
    chmod 2750 "$t/dir/deeper"
    chmod 1777 "$t/empty"
    chmod 0640 "$t/dir/noise"
    mkfifo -m 622 "$t/fifo"
    if [ "$(id -u)" = 0 ]; then
        mknod -m 640 "$t/block" b 7 300
        mknod -m 666 "$t/character" c 1 3
        chown 1234:4321 "$t/dir" "$t/dir/noise"
        chown -h 77:88 "$t/link"
        chown 5:6 "$t/hello"
        chmod 4755 "$t/hello"
    fi
    find "$t" -depth -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +
    touch -d '1999-12-31 23:59:59 UTC' "$t/hello" "$t/dir/deeper"
    chmod 0555 "$t/read-only"
}

# list_tree DIRECTORY: all that is to be equal, apart from contents.  Directories' sizes and links are not.
list_tree() {
    (
        cd "$1" || exit
        find . -mindepth 1 \( -type d -printf '%P d %m %U %G %T@ %l\0' \) -o \
            -printf '%P %y %m %U %G %n %s %T@ %l\0' | sort -z | tr '\0' '\n'
        find . -mindepth 1 \( -type b -o -type c \) -exec stat -c '%n %t %T' {} + | sort
        find . -mindepth 1 -exec getfattr -h -d -m '^(user|trusted|system|security\.capability)' -e hex {} + 2>/dev/null |
            awk 'BEGIN { RS = "" } { gsub("\n", " "); print }' | sort
    )
}

# same_contents A B: the same names, links, and bytes in files.
same_contents() {
    (cd "$1" && find . -type f -print0 | sort -z) >files-a
    (cd "$2" && find . -type f -print0 | sort -z) >files-b
    cmp files-a files-b || fail "$1 and $2 have other files"
    while IFS= read -r -d '' file; do
        cmp "$1/$file" "$2/$file" || fail "$file differs in $1 and $2"
    done <files-a
}

# same_tree A B
same_tree() {
    diff <(list_tree "$1") <(list_tree "$2") || fail "$1 and $2 differ"
    same_contents "$1" "$2"
}

# put_ext IMAGE OFFSET SIZE TREE [OPTION...]: an ext4 file system, in a part of a raw image.
put_ext() {
    local image=$1 offset=$2 size=$3 tree=$4
    shift 4
    truncate -s "$size" "$TEST_DIR/.part"
    mke2fs -q -t ext4 -F -d "$tree" "$@" "$TEST_DIR/.part"
    put_file "$image" "$offset" <"$TEST_DIR/.part"
    rm "$TEST_DIR/.part"
}

# put_fat IMAGE OFFSET SIZE FILE...: a FAT file system with these files and directories.
put_fat() {
    local image=$1 offset=$2 size=$3
    shift 3
    truncate -s "$size" "$TEST_DIR/.part"
    mkfs.fat "$TEST_DIR/.part" >"$TEST_DIR/.mkfs"
    mcopy -s -m -i "$TEST_DIR/.part" "$@" ::
    put_file "$image" "$offset" <"$TEST_DIR/.part"
    rm "$TEST_DIR/.part"
}
