#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Names of images: "file:" in front, protocols, what a backing name means; loops, and formats that nobody knows.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
slow

# overlay NAME BACKING FORMAT [SIZE]: an image that records this, whatever it is.
overlay() {
    qemu-img create -q -f qcow2 -u -b "$2" -F "$3" "$1" "${4:-1M}"
}

mkdir sub
qemu-img create -q -f qcow2 b.qcow2 4M
qemu-io -c 'write -q -P 3 100k 300k' b.qcow2
qemu-img convert -O raw b.qcow2 b.raw
truncate -s 1M a:b
overlay o.qcow2 b.qcow2 qcow2 5M
overlay sub/s.qcow2 ../b.qcow2 qcow2 4M
overlay prefixed.qcow2 file:b.qcow2 qcow2 4M
cp prefixed.qcow2 sub/prefixed.qcow2 # where the prefix is, the name is relative to nothing
overlay colon.qcow2 file:a:b raw
overlay hidden.qcow2 ./a:b raw
overlay protocol.qcow2 nosuch:host/x raw
overlay on-protocol.qcow2 protocol.qcow2 qcow2
overlay missing.qcow2 nofile qcow2
overlay on-missing.qcow2 missing.qcow2 qcow2
overlay format.qcow2 b.qcow2 vmdk
name_at=$(LC_ALL=C grep -abo vmdk format.qcow2 | cut -d : -f 1)
put_bytes format.qcow2 "$name_at" "$(printf nope | od -An -tx1 | tr -d ' ')"
overlay on-format.qcow2 format.qcow2 qcow2
overlay named-loop.qcow2 other-loop.qcow2 qcow2
overlay other-loop.qcow2 named-loop.qcow2 qcow2

readable='file:b.raw file:sub/s.qcow2 prefixed.qcow2 sub/prefixed.qcow2 file:a:b ./a:b colon.qcow2 hidden.qcow2'
broken='protocol.qcow2 on-protocol.qcow2 missing.qcow2 on-missing.qcow2 format.qcow2 on-format.qcow2'
for name in $readable $broken file:nofile nosuch:x a:b nosuch:b.qcow2 file: file:file:b.qcow2; do
    same info "$name"
    same info --backing-chain --output=json -U "$name"
    same map "$name"
    same compare "$name" b.raw
    same compare b.raw "$name"
    same_made convert "$name" x
    same_made convert -f qcow2 -O qcow2 "$name" x
done
for name in $readable file:nofile nosuch:x a:b file:; do
    same check --output=json "$name"
    same_made create -f qcow2 -b "$name" -F qcow2 x
    same_made create -f qcow2 -b "$name" -F raw x 2M
    same_made create -f qcow2 -u -b "$name" -F raw x 2M
done
for name in $broken; do
    same_made create -f qcow2 -b "$name" -F qcow2 x
    same_made create -f qcow2 -b "$name" -F raw x 2M
done
same_fails 1 info --backing-chain protocol.qcow2
assert_match "^qemu-img: Could not open 'nosuch:host/x': Unknown protocol 'nosuch'\$" "$ERR"
same_fails 1 map format.qcow2
assert_match "Could not open backing file: Unknown driver 'nope'\$" "$ERR"

# targets
for target in file:x file:./x; do
    same_made create "$target" 1M
    same_made create -f qcow2 -b b.qcow2 -F qcow2 "$target"
    same_made convert b.qcow2 "$target"
    same_made convert -O qcow2 -B b.qcow2 -F qcow2 o.qcow2 "$target"
done
for target in a:x nosuch:x json:x file: nosuch://x/y; do
    same_fails 1 create "$target" 1M
    same_fails 1 create -f qcow2 -o bogus=1 -b nofile -F qcow2 "$target"
    same_fails 1 create -f qcow2 -o help nosuch:x
    same_fails 1 convert b.qcow2 "$target"
    same_fails 1 convert -O qcow2 -o bogus=1 b.qcow2 "$target"
    same_fails 1 convert -O qcow2 -o help b.qcow2 nosuch:x
    assert_missing "$target"
done
same_fails 1 convert -n b.qcow2 nosuch:x
rm -f x
run_ok "$BYRE" create -f qcow2 -q file:c:d 1M
assert_clean ./c:d
for backing in nosuch:y nofile missing.qcow2 protocol.qcow2; do
    same_fails 1 convert -O qcow2 -B "$backing" -F qcow2 o.qcow2 y
    rm y # qemu-img makes the target before it looks at the backing file
    run_fails 1 "^byre: Could not open 'x': Could not open backing file: " \
        "$BYRE" convert -O qcow2 -B "$backing" -F qcow2 o.qcow2 x
    assert_missing x
done

# says CODE TEXT ARGUMENT...: byre exits with CODE and writes just that on standard error.
says() {
    local code=$1 text=$2
    shift 2
    run "$BYRE" "$@"
    assert_equal "$code" "$CODE" "exit code of $*"
    assert_equal "byre: $text" "$ERR" "standard error of $*"
}

# What qemu-img follows, or not, depending on how it was built: byre never does.
for backing in nbd://localhost:1/x 'json:{"driver":"qcow2","file":{"driver":"file","filename":"b.qcow2"}}' ssh://u@h/x \
    nbd:unix:/nowhere host_device:b.qcow2; do
    overlay beyond.qcow2 "$backing" raw
    same_ok info beyond.qcow2
    same_ok info --output=json beyond.qcow2
    case $backing in
        json:* | host_device:* | nbd:*)
            unknown="Could not open '$backing': backing files can only be named by a path"
            unknown+=$'\nUse --allow-backing=protocol if you trust the image.'
            says 1 "$unknown" info --backing-chain beyond.qcow2 ;;
        *)
            unknown="Unknown protocol '${backing%%:*}'"
            says 1 "x: $unknown"$'\nCould not open backing image.' create -f qcow2 -b "$backing" -F raw x 1M
            says 1 "Could not open '$backing': $unknown" info --backing-chain beyond.qcow2 ;;
    esac
    says 1 "Could not open 'beyond.qcow2': Could not open backing file: $unknown" map beyond.qcow2
    says 1 "Could not open 'beyond.qcow2': Could not open backing file: $unknown" convert beyond.qcow2 x
    says 2 "Could not open 'beyond.qcow2': Could not open backing file: $unknown" compare beyond.qcow2 b.raw
    run_ok "$BYRE" check beyond.qcow2
    assert_missing x
done

# Loops, whatever the names are.  qemu-img finds the first one when it lists the chain, and else does not end.
overlay self.qcow2 ./self.qcow2 qcow2
overlay prefix-loop.qcow2 file:prefix-loop.qcow2 qcow2
overlay roundabout.qcow2 sub/../roundabout.qcow2 qcow2
overlay linked.qcow2 hard-link.qcow2 qcow2
ln linked.qcow2 hard-link.qcow2
overlay symlinked.qcow2 soft-link.qcow2 qcow2
ln -s symlinked.qcow2 soft-link.qcow2
overlay down.qcow2 sub/up.qcow2 qcow2
overlay sub/up.qcow2 ../down.qcow2 qcow2
same_fails 1 info --backing-chain named-loop.qcow2
same_fails 1 info --backing-chain --output=json other-loop.qcow2
while read -r image found; do
    run_fails 1 "^byre: Backing file '$found' creates an infinite loop\\.\$" "$BYRE" info --backing-chain "$image"
    run_fails 1 "^byre: Backing file '$found' creates an infinite loop\\.\$" \
        "$BYRE" info -U --output=json --backing-chain "$image"
    assert_equal '' "$OUT" "output for $image"
    run_fails 1 'creates an infinite loop\.$' "$BYRE" map "$image"
    run_fails 1 'creates an infinite loop\.$' "$BYRE" convert "$image" x
    run_fails 2 'creates an infinite loop\.$' "$BYRE" compare "$image" b.raw
    run_fails 1 'creates an infinite loop\..Could not open backing image\.$' \
        "$BYRE" create -f qcow2 -b "$image" -F qcow2 x
    assert_missing x
    same_ok info "$image"
    run_ok "$BYRE" check "$image"
done <<'END'
named-loop.qcow2 named-loop.qcow2
self.qcow2 ./self.qcow2
prefix-loop.qcow2 file:prefix-loop.qcow2
roundabout.qcow2 sub/../roundabout.qcow2
linked.qcow2 hard-link.qcow2
symlinked.qcow2 soft-link.qcow2
down.qcow2 sub/../down.qcow2
END
