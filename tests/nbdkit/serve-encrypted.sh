#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Encrypted images, at the top and below, with passwords as nbdkit reads them; wrong ones.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbdkit/nbdkit.sh"
slow

text 1 3000000 >text.raw
truncate -s 4M text.raw
printf tops3cret >pw
printf 'tops3cret\nsecond line' >pw-line
printf wrong >wrong
qemu_encrypts convert -f raw -O qcow2 --object secret,id=s,file=pw \
    -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 text.raw secret.qcow2
qemu_encrypts convert -f raw -O luks --object secret,id=s,file=pw -o key-secret=s,iter-time=10 text.raw secret.luks
qemu-img create -q -u -f qcow2 -b secret.qcow2 -F qcow2 over.qcow2 4M
qemu-img create -q -f qcow2 plain.qcow2 4M
object=secret,id=s,file=pw
top=driver=qcow2,encrypt.key-secret=s,file.filename=secret.qcow2
below=driver=qcow2,file.filename=$PWD/over.qcow2,backing.driver=qcow2,backing.encrypt.key-secret=s
below+=,backing.file.filename=$PWD/secret.qcow2

served text.raw --object $object --image-opts $top -- secret.qcow2 password=+pw
served text.raw --object $object --image-opts driver=luks,key-secret=s,file.filename=secret.luks -- \
    secret.luks password=+pw-line
served text.raw --object $object --image-opts "$below" -- secret=s:tops3cret image-opts="$below"
served text.raw --object $object --image-opts $top -- chain=1 secret=s:+pw image-opts="$below"

# written in cipher
serve writes "$PLUGIN" secret.qcow2 password=+pw
qemu_io -f raw -c 'write -q -P 0x5a 1000k 300k' -c flush "$URI"
stop writes
assert_checked secret.qcow2
qemu-img check -q --object $object --image-opts $top
qemu_io --object $object --image-opts -c 'read -q -P 0x5a 1000k 300k' $top
! LC_ALL=C grep -q ZZZZZZZZ secret.qcow2 || fail 'plain text in an encrypted image'

refused "Could not open '.*/secret.qcow2': Parameter 'encrypt.key-secret' is required for cipher" "$PLUGIN" secret.qcow2
for parameter in password=wrong password=+wrong; do
    refused "Could not open '.*/secret.qcow2': Invalid password, cannot unlock any keyslot" "$PLUGIN" secret.qcow2 \
        $parameter
    refused "Could not open '.*/secret.luks': Invalid password" "$PLUGIN" secret.luks $parameter
done
refused "'.*/plain.qcow2' is not encrypted, and a password was given" "$PLUGIN" plain.qcow2 password=+pw
refused 'password= was given twice' "$PLUGIN" secret.qcow2 password=a password=b
refused 'nofile: No such file' "$PLUGIN" secret.qcow2 password=+nofile
refused 'secret= takes an id, a colon and a password' "$PLUGIN" secret.qcow2 secret=tops3cret
[[ $ERR != *tops3cret* ]] || fail 'a password is shown'
refused "No secret with id 's'" "$PLUGIN" image-opts="${top/secret.qcow2/$PWD/secret.qcow2}"
