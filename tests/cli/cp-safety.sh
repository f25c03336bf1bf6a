#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# byre cp: what it replaces and what it leaves alone, where links could lead, and what it does when something fails.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/file_tree.sh"

has EXT2FS || skip 'built without libext2fs'
make_tree tree
clean_up chmod -R u+rwX "$TEST_DIR"
truncate -s 32M disk.raw
put_ext disk.raw 0 32M tree

# Standard output, and devices: contents, one after another, with zeros for holes.
"$BYRE" cp disk.raw hello /dir/noise - >both </dev/null
assert_same_file <(cat tree/hello tree/dir/noise) both
"$BYRE" cp disk.raw sparse - | cmp - tree/sparse
"$BYRE" cp -a disk.raw sparse /dev/stdout | cmp - tree/sparse
"$BYRE" cp disk.raw link-to-dir/text - | cmp - tree/dir/deeper/text
run_fails 1 "^byre: could not copy 'dir' in 'disk.raw': it is a directory, and '-' is none$" "$BYRE" cp -r disk.raw dir -
run_fails 1 "'/dev/full': No space left on device$" "$BYRE" cp disk.raw hello /dev/full
[ -c /dev/full ] || fail '/dev/full is gone'

# Names: a new one, one in a directory, one with a slash behind it.
run_ok "$BYRE" cp disk.raw hello new
assert_same_file tree/hello new
run_ok "$BYRE" cp -r disk.raw dir new-dir/
same_contents tree/dir new-dir
run_ok "$BYRE" cp -r disk.raw dir/deeper/. new-dir
assert_same_file tree/dir/deeper/text new-dir/text
run_fails 1 "^byre: 'nowhere/': Not a directory$" "$BYRE" cp disk.raw hello nowhere/
run_fails 1 "^byre: 'no/where/x': No such file or directory$" "$BYRE" cp disk.raw hello no/where/x
run_fails 1 "^byre: 'new': Not a directory$" "$BYRE" cp disk.raw hello nothing new
run_fails 1 "^byre: 'missing': No such file or directory$" "$BYRE" cp disk.raw hello nothing missing
assert_missing missing
run_fails 1 "could not copy 'dir' in 'disk.raw': it is a directory, which is copied with -r or -a only$" \
    "$BYRE" cp disk.raw dir copied
assert_missing copied

# What is there is replaced, or left alone with -n; a directory never.
echo old >old
ln old other
run_ok "$BYRE" cp disk.raw hello old
assert_equal 'hello old' "$(cat old) $(cat other)"
for option in -n --no-clobber; do
    echo old >old
    run_ok "$BYRE" cp $option disk.raw hello old
    assert_equal old "$(cat old)"
    run_ok "$BYRE" cp $option -r disk.raw hello link new-dir
done
run_ok "$BYRE" cp --no-clobber disk.raw hello another
assert_same_file tree/hello another
mkdir -p in/hello
run_fails 1 "could not copy 'hello' in 'disk.raw': 'in/hello': Is a directory$" "$BYRE" cp disk.raw hello in
run_fails 1 "could not copy 'dir' in 'disk.raw': 'old': Not a directory$" "$BYRE" cp -r disk.raw dir old
assert_equal old "$(cat old)"
echo x >in/link
run_ok "$BYRE" cp --recursive disk.raw link in
assert_equal hello "$(readlink in/link)"

# Links in the destination lead nowhere: one that was there, of a file and of a directory; and one that was copied.
mkdir outside trap
echo victim >outside/victim
ln -s ../outside/victim trap/hello
ln -s ../outside trap/dir
run "$BYRE" cp -r disk.raw hello dir trap
assert_equal 1 "$CODE"
assert_match "could not copy 'dir' in 'disk.raw': 'trap/dir': Not a directory" "$ERR"
assert_same_file tree/hello trap/hello
[ ! -L trap/hello ] || fail 'the link is still there'
assert_equal victim "$(find outside -mindepth 1 -printf '%f\n')"
assert_equal victim "$(cat outside/victim)"
mkdir -p evil/a second/a lure
ln -s "$PWD/outside" evil/a/escape
mkdir second/a/escape
echo owned >second/a/escape/victim
for tree in evil second; do
    truncate -s 4M $tree.raw
    put_ext $tree.raw 0 4M $tree
done
run_ok "$BYRE" cp -a evil.raw a lure
run_fails 1 "could not copy 'a/escape' in 'second.raw': 'lure/a/escape': Not a directory$" "$BYRE" cp -a second.raw a lure
assert_equal victim "$(cat outside/victim)"

# But the destination itself may be a link of the user's to a directory; any other one is replaced.
ln -s outside way
run_ok "$BYRE" cp disk.raw hello way
assert_same_file tree/hello outside/hello
run_ok "$BYRE" cp disk.raw hello outside/victim
ln -s nowhere/at/all dangling
ln -s outside/victim through
for option in '' -n; do
    for name in dangling through; do
        # shellcheck disable=SC2086
        [ -z "$option" ] || ln -sf outside/victim $name
        # shellcheck disable=SC2086
        run_ok "$BYRE" cp $option disk.raw dir/noise $name
    done
    assert_same_file tree/hello outside/victim
    if [ -z "$option" ]; then
        for name in dangling through; do
            [ ! -L $name ] || fail 'the link is still there'
            assert_same_file tree/dir/noise $name
        done
    fi
done

# Links that were copied lead nowhere when their name is the destination once more: of the same link, and of a file.
for link in link link-to-dir; do
    mkdir -p dir/deeper
    for ((i = 0; i < 2; i++)); do
        run_ok "$BYRE" cp -r disk.raw $link again
        assert_equal "$(readlink tree/$link)" "$(readlink again)"
    done
    rm again
done
assert_equal '' "$(find dir -type l)"
ln -s "$PWD/outside/victim" evil/arrow
truncate -s 4M arrow.raw
put_ext arrow.raw 0 4M evil
run_ok "$BYRE" cp -r arrow.raw arrow shot
run_ok "$BYRE" cp -r disk.raw dir/noise shot
assert_same_file tree/dir/noise shot
assert_same_file tree/hello outside/victim
run_fails 1 "^byre: '': No such file or directory$" "$BYRE" cp disk.raw hello ''
run_fails 1 "^byre: '': No such file or directory$" "$BYRE" cp -r disk.raw hello dir ''
assert_missing hello

# A failure leaves nothing behind, what was there before, and the rest is copied.
mkdir limited
echo before >limited/noise
(
    ulimit -f 100
    run "$BYRE" cp -r disk.raw dir/noise dir/deeper/text hello limited
    assert_equal 1 "$CODE"
    assert_match "could not copy 'dir/noise' in 'disk.raw': 'limited/noise': File too large
byre: could not copy 'dir/deeper/text' in 'disk.raw': 'limited/text': File too large" "$ERR"
)
assert_equal "hello noise" "$(find limited -type f -printf '%f\n' | sort | paste -sd ' ')"
assert_equal before "$(cat limited/noise)"

# A file system with errors: each of them is told, and all that is sound is copied.
cp disk.raw bad.raw
debugfs -w -R 'ln dir dir/deeper/loop' bad.raw 2>debugfs.log
debugfs -w -R 'set_inode_field dir/deeper/text block[5] 0x7ffffff0' bad.raw 2>debugfs.log
mkdir rescued
run "$BYRE" cp -r bad.raw dir hello rescued
assert_equal 1 "$CODE"
assert_match "could not copy 'dir/deeper/loop' in 'bad.raw': the directory was met before" "$ERR"
assert_match "could not copy 'dir/deeper/text' in 'bad.raw': " "$ERR"
assert_missing rescued/dir/deeper/text
assert_missing rescued/dir/deeper/loop
assert_same_file tree/dir/noise rescued/dir/noise
assert_same_file tree/hello rescued/hello

# Names in messages do nothing to a terminal.
run "$BYRE" cp disk.raw $'esc\033[31m' missing/x
assert_match "^byre: '?missing/x'?: No such file or directory$" "$ERR"
mkdir "in/$(printf 'esc\033[31m')"
run_fails 1 "could not copy 'esc\\\\033\[31m' in 'disk.raw': 'in/esc\\\\033\[31m': Is a directory$" \
    "$BYRE" cp disk.raw $'esc\033[31m' in

# Directories within each other, more than are followed.
mkdir deep
(
    cd deep
    for ((i = 0; i < 510; i++)); do
        mkdir d
        cd d
    done
)
truncate -s 8M deep.raw
put_ext deep.raw 0 8M deep -N 1024
mkdir dive
run_fails 1 'there are more than 500 directories within each other$' "$BYRE" cp -r deep.raw d dive
assert_equal 501 "$(find dive -mindepth 1 -type d | wc -l)"
