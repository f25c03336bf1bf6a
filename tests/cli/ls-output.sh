#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What byre ls prints: names, columns, long lists, trees and JSON; and the options that say which image.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/hold.bash"
. "$TEST_TOP/tests/cli/file_tree.sh"

has EXT2FS || skip 'built without libext2fs'
make_tree tree
clean_up chmod -R u+rwX "$TEST_DIR"
truncate -s 32M disk.raw
put_ext disk.raw 0 32M tree
qemu-img convert -O qcow2 disk.raw disk.qcow2

# Names: as ls has them, control characters and bytes that are no text apart.
run_ok "$BYRE" ls disk.qcow2
(cd tree && find . -mindepth 1 -maxdepth 1 -printf '%f\0') | tr '\n\0' '?\n' >wanted
echo lost+found >>wanted
sed -i 's/\\/\\\\/; s/[?]/\\n/; s/\x1b/\\033/; s/\xe9/\\351/' wanted
assert_equal "$(sort wanted)" "$(sort <<<"$OUT")"
assert_match 'new\\nline' "$OUT"
assert_match 'esc\\033\[31m' "$OUT"
assert_match 'latin\\351' "$OUT"
run_ok "$BYRE" ls disk.qcow2 /dir/../dir hello
assert_equal 'hello

/dir/../dir:
deeper
noise' "$OUT"
run_ok "$BYRE" ls disk.qcow2 link-to-dir
assert_equal 'deepest
noise-too
text' "$OUT"

# Long
run_ok "$BYRE" ls -l disk.qcow2 hello link link-to-dir dir
(
    cd tree
    TZ=UTC stat -c '%A %h %u %g %s %y %N' hello link link-to-dir
) | sed "s/\\([-0-9]*\\) \\([0-9:]*\\)\\.[0-9]* +0000/\\1T\\2Z/; s/'//g" | tr -s ' ' >wanted
assert_equal "$(cat wanted)" "$(head -n 3 <<<"$OUT" | tr -s ' ')"
assert_match $'\n/dir:\n' "$OUT"
for option in -d --directory; do
    run_ok "$BYRE" ls --long $option disk.qcow2 dir
    assert_match "^d.* [0-9]* 2001-02-03T04:05:06Z dir\$" "$OUT"
done
if [ "$(id -u)" = 0 ]; then
    run_ok "$BYRE" ls -l disk.qcow2 block
    assert_equal 'brw-r----- 1 0 0 7,300 2001-02-03T04:05:06Z block' "$OUT"
fi

# Trees
run_ok "$BYRE" ls -R disk.qcow2 dir
assert_equal '/dir:
deeper
noise

/dir/deeper:
deepest
noise-too
text

/dir/deeper/deepest:' "$OUT"
run_ok "$BYRE" ls --recursive --output=json disk.qcow2
jq -e . "$TEST_DIR/.out" >parsed || fail 'this is no JSON'
assert_equal "$(find tree -mindepth 1 -printf x | wc -c)" "$(jq '[.[] | select(.path != "/lost+found")] | length' parsed)"

# JSON
run_ok "$BYRE" ls --output=json disk.qcow2 hello link
jq . "$TEST_DIR/.out" >parsed
for pair in "path=/hello" type=file permissions=4755 links=1 size=6 uid="$(stat -c %u tree/hello)" \
    gid="$(stat -c %g tree/hello)" modified=1999-12-31T23:59:59.000000000Z; do
    assert_equal "${pair#*=}" "$(jq -r ".[0].\"${pair%%=*}\"" parsed)" "$pair"
done
assert_equal 'symlink hello' "$(jq -r '.[1] | .type + " " + .target' parsed)"
run_ok "$BYRE" ls --output=json disk.qcow2
assert_equal 6c6174696ee9 "$(jq -r '.[] | select(has("path-hex")) | ."path-hex"' "$TEST_DIR/.out" | sed 's/^2f//')"
assert_equal "$(printf '/new\nline')" "$(jq -r '.[] | select(.path | test("new")) | .path' "$TEST_DIR/.out")"
run_ok "$BYRE" ls --output=json disk.qcow2 empty
assert_equal "$(printf '[\n]')" "$OUT"
run_fails 1 'output must be used with human or json' "$BYRE" ls --output=xml disk.qcow2

# Columns, on a terminal; -1 wants none.
printf -v command '%q ls disk.qcow2 dir/deeper' "$BYRE"
assert_equal 'deepest    noise-too  text' "$(script -qec "$command" /dev/null </dev/null | tr -d '\r')"
printf -v command '%q ls -1 disk.qcow2 dir/deeper' "$BYRE"
assert_equal "$(printf 'deepest\nnoise-too\ntext')" "$(script -qec "$command" /dev/null </dev/null | tr -d '\r')"

# What is not there, and the rest all the same.
run "$BYRE" ls disk.qcow2 hello/x missing hello $'\033[2J'
assert_equal '1 hello' "$CODE $OUT"
assert_match "^byre: could not find 'hello/x' in 'disk.qcow2': " "$ERR"
assert_match "byre: could not find 'missing' in 'disk.qcow2': " "$ERR"
assert_match "byre: could not find '\\\\033\[2J' in " "$ERR"

run_fails 1 "could not find '\\\\302\\\\233x\\\\342\\\\200\\\\256' in 'disk.qcow2': " "$BYRE" ls disk.qcow2 $'\302\233x\342\200\256'
run_fails 1 "could not find 'hello/' in 'disk.qcow2': 'hello' is no directory$" "$BYRE" ls disk.qcow2 hello/

# A directory that contains itself is shown once.
debugfs -w -R 'ln dir dir/deeper/loop' disk.raw 2>debugfs.log
run "$BYRE" ls -R disk.raw
assert_equal 1 "$CODE"
assert_match "^byre: could not go into '/dir/deeper/loop' in 'disk.raw': the directory was met before" "$ERR"
assert_equal 1 "$(grep -c '^/dir/deeper:$' <<<"$OUT")"

# Which image: options that all commands have.
run_ok "$BYRE" ls --image-opts driver=qcow2,file.filename=disk.qcow2 hello
run_fails 1 'there is no file system that is known' "$BYRE" ls -f raw disk.qcow2 hello
run_fails 1 'there is no file system that is known' "$BYRE" cp --format=raw disk.qcow2 hello x
run_ok "$BYRE" cp --image-opts driver=qcow2,file.filename=disk.qcow2 hello x
assert_same_file tree/hello x
secret=secret,id=s,data=pw
qemu_encrypts convert -O qcow2 --object $secret -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 \
    disk.qcow2 luks.qcow2
for option in --object=$secret "--object $secret"; do
    # shellcheck disable=SC2086
    run_ok "$BYRE" ls $option --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2 hello
done
run_ok "$BYRE" cp --object $secret --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2 hello y
assert_same_file tree/hello y
backing='json:{"driver":"qcow2","file":{"driver":"file","filename":"disk.qcow2"}}'
qemu-img create -q -f qcow2 -b "$backing" -F qcow2 top.qcow2
run_fails 1 'backing files can only be named by a path' "$BYRE" ls top.qcow2
run_ok "$BYRE" ls --allow-backing=protocol top.qcow2
run_fails 1 'backing files can only be named by a path' "$BYRE" cp top.qcow2 hello z
run_ok "$BYRE" cp --allow-backing=protocol top.qcow2 hello z
assert_same_file tree/hello z
qemu-img snapshot -c s disk.qcow2
qemu-io -c 'write -q -z 0 32M' disk.qcow2
run_fails 1 'there is no file system that is known' "$BYRE" ls disk.qcow2
run_ok "$BYRE" ls --snapshot=s disk.qcow2 hello
run_ok "$BYRE" ls --snapshot snapshot.name=s disk.qcow2 hello
run_fails 1 'snapshot' "$BYRE" ls --snapshot=t disk.qcow2 hello

# While somebody writes to the image, it is looked at with -U only.
hold -f qcow2 top.qcow2
run_fails 1 'Failed to get .* lock' "$BYRE" ls --allow-backing=protocol top.qcow2
run_fails 1 'Failed to get .* lock' "$BYRE" cp --allow-backing=protocol top.qcow2 hello z
run_fails 1 'no file system that is known' "$BYRE" ls -U --allow-backing=protocol top.qcow2
run_fails 1 'no file system that is known' "$BYRE" ls --force-share --allow-backing=protocol top.qcow2
run_fails 1 'no file system that is known' "$BYRE" cp -U --allow-backing=protocol top.qcow2 hello z
run_fails 1 'no file system that is known' "$BYRE" cp --force-share --allow-backing=protocol top.qcow2 hello z
release
