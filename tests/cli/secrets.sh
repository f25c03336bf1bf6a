#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# --object and the options of encrypted images: the same as in qemu-img, mistakes included; and that a password is
# never shown.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
slow

good=secret,id=s,data=hunter2hunter2 bad=secret,id=t,data=wrongwrong
qemu_encrypts create -q --object $good -f luks -o key-secret=s,iter-time=1 x.luks 1M
qemu_encrypts create -q --object $good -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 x.qcow2 1M
qemu_encrypts create -q --object $good -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1,encrypt.ivgen-alg=essiv,encrypt.cipher-mode=cbc \
    y.qcow2 1M
qemu-img create -q -f raw r.raw 1M
: >empty
printf '\377' >latin
printf 'hunter2hunter2' >pw
base64 pw >pw64
printf 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk' >key
iv=$(printf 'iiiiiiiiiiiiiiii' | base64)

# what is said of an object
for object in secret,id=s secret,id=s,data=a,file=b secret,data=a secret,id=s,data=a,format=foo \
    'secret,id=s,data=!!,format=base64' secret,id=s,foo=bar,data=YWJj foo,id=s,data=a secret,id=1s,data=a \
    secret,id=s,data=a,keyid=k,iv="$iv" id=s; do
    same_fails 1 info --object "$object" r.raw
done
same_fails 1 info --object secret,id=s,data=a --object secret,id=s,data=b r.raw
same_fails 1 info --object secret,id=k,data=short --object "secret,id=s,data=YWJj,format=base64,keyid=k,iv=$iv" r.raw
same_fails 1 info --object secret,id=k,file=key --object secret,id=s,data=YWJj,format=base64,keyid=k r.raw
# What follows a comma that is not doubled may be a part of the secret.
for object in secret,id=s,data=ope,sesame secret,id=s,data=ope,sesame=x; do
    run_fails 1 "'data' .*is a comma in it doubled" "$BYRE" info --object $object r.raw
    ! grep -q 'sesam' <<<"$OUT$ERR" || fail "a part of the secret is shown: $ERR"
done
run_fails 1 '^byre: Unable to read nofile: No such file or directory$' "$BYRE" info --object secret,id=s,file=nofile r.raw
run_fails 1 "^byre: IV should not be set if keyid is not\$" "$BYRE" info --object "secret,id=s,data=a,iv=$iv" r.raw
same_ok info --object $good r.raw
same_ok info --object secret,help r.raw
run_ok "$BYRE" info --object help
assert_match '  secret$' "$OUT"

# a password is a text
for data in YQBi /w==; do
    same_fails 1 map --object "secret,id=s,data=$data,format=base64" --image-opts driver=luks,key-secret=s,file.filename=x.luks
done

# what a header says
same_ok info x.luks
same_ok info --output=json x.luks
for image in x.qcow2 y.qcow2; do
    same_ok info $image
    same_ok info --output=json $image
done
same_ok info --object $good --image-opts driver=luks,key-secret=s,file.filename=x.luks
same_ok info --object $good --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=x.qcow2
same_fails 1 info -f luks r.raw

# each way to say a password opens the images
openssl enc -aes-256-cbc -K "$(od -An -tx1 -v key | tr -d ' \n')" -iv "$(printf 'iiiiiiiiiiiiiiii' | od -An -tx1 | tr -d ' \n')" \
    -in pw -base64 -out wrapped
for object in $good secret,id=s,file=pw secret,id=s,file=pw64,format=base64 \
    '{"qom-type": "secret", "id": "s", "data": "hunter2hunter2"}' \
    "secret,id=s,file=wrapped,format=base64,keyid=k,iv=$iv"; do
    same_ok map --output=json --object secret,id=k,file=key --object "$object" --image-opts \
        driver=luks,key-secret=s,file.filename=x.luks
    same_ok map --output=json --object secret,id=k,file=key --object "$object" --image-opts \
        driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=x.qcow2
done

# on each command
luks=driver=luks,key-secret=s,file.filename=x.luks
qcow2=driver=qcow2,encrypt.key-secret=s,file.filename=x.qcow2
same_ok compare --object $good --image-opts $luks $luks
same_ok check --object $good --image-opts $qcow2
same_fails 1 check --object $good --object $bad --image-opts ${qcow2/=s,/=t,}
run_ok "$BYRE" check --object $good x.qcow2
run_ok "$BYRE" bench --object $good -c 10 --image-opts $qcow2
run_ok "$BYRE" io --object $good -c 'write -P 3 1000 2000' --image-opts $qcow2
run_ok "$BYRE" io -c "open -o driver=luks,file.filename=x.luks,key-secret=s" -c 'read 0 512' --object $good
run_ok "$BYRE" convert --object $good --image-opts $qcow2 -O raw y.raw
run_ok "$BYRE" convert --object $good -n --target-image-opts y.raw $luks
run_ok "$BYRE" compare --object $good --image-opts $luks $qcow2
run_ok "$BYRE" create --object $good -f qcow2 -b "json:{'driver': 'luks', 'key-secret': 's', 'file': {'driver': 'file', 'filename': '$PWD/x.luks'}}" \
    -F luks over.qcow2
same_ok map --object $good --output=json over.qcow2

# mistakes of who opens an image
for command in 'map' 'convert -O raw'; do
    target=
    [ "$command" = map ] || target=out.raw
    for image in x.luks x.qcow2 ${luks/=s,/=none,} ${luks/=s,/=t,} ${luks/=s,/=l,} ${qcow2/=s,/=none,} ${qcow2/=s,/=t,} \
        driver=qcow2,encrypt.format=aes,file.filename=x.qcow2 driver=qcow2,encrypt.format=foo,file.filename=x.qcow2 \
        driver=qcow2,encrypt.format=luks,file.filename=x.qcow2 driver=luks,key-secret=s,foo=1,file.filename=x.luks; do
        opts=
        [[ $image != *=* ]] || opts=--image-opts
        # shellcheck disable=SC2086 # several words, or none
        same_fails 1 $command $opts --object $good --object $bad --object secret,id=l,file=latin $image $target
        assert_missing out.raw
    done
done
same_fails 1 map --object $good --image-opts driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=r.raw
same_fails 1 map --object $good --image-opts $luks
same_fails 1 map --object $good --image-opts $qcow2

# mistakes of who makes one
for options in key-secret=none cipher-alg=foo,key-secret=s cipher-mode=foo,key-secret=s ivgen-alg=foo,key-secret=s \
    ivgen-hash-alg=foo,key-secret=s hash-alg=foo,key-secret=s ivgen-alg=essiv,ivgen-hash-alg=sha1,cipher-mode=cbc,key-secret=s \
    foo=1; do
    same_fails 1 create --object $good -f luks -o $options z 1M
    rm -f z
done
same_fails 1 create -f luks z 1M
rm -f z
same_fails 1 create -f luks -b x.luks -F luks z
for options in encrypt.format=foo encrypt.format=luks encrypt.format=luks,encrypt.key-secret=none encrypt.key-secret=s \
    encrypt.format=luks,encrypt.key-secret=s,encrypt.hash-alg=foo; do
    same_fails 1 create --object $good -f qcow2 -o $options z 1M
    rm -f z
done
same_fails 1 convert --object $good -c -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s r.raw z
same_fails 1 convert -c -O luks r.raw z
same_fails 1 convert -O luks r.raw z
rm -f z
run_fails 1 '^byre: Compression and encryption not supported at the same time$' \
    "$BYRE" convert --object $good -c -n --target-image-opts r.raw $qcow2
run "$BYRE" io --object $good -c 'write -c 0 64k' --image-opts $qcow2
assert_equal 1 "$CODE" 'exit code of a compressed write'
assert_match '^write failed: Operation not supported$' "$OUT"
run_fails 1 "^byre: z: PBKDF iterations .* larger than" \
    "$BYRE" create --object $good -f luks -o key-secret=s,iter-time=4294967296 z 1M
assert_missing z
same_ok create -f luks -o help

# Options of ciphers have their effect.
run_ok "$BYRE" create --object $good -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=md5,encrypt.hash-alg=sha1,encrypt.iter-time=1 \
    z.qcow2 1M
same_ok info z.qcow2
run_ok "$BYRE" convert --object $good -O luks -o key-secret=s,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5,hash-alg=sha1,iter-time=1 \
    r.raw z.luks
same_ok info z.luks
run_ok "$BYRE" create --object $good -f luks -o key-secret=s,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5,hash-alg=sha1,iter-time=1 \
    z.luks 1M
run_ok "$BYRE" convert --object $good -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=md5,encrypt.hash-alg=sha1,encrypt.iter-time=1 \
    r.raw z.qcow2
same_ok info z.qcow2
same_ok info z.luks
for words in 'ivgen alg: essiv' 'ivgen hash alg: md5' 'hash alg: sha1' 'cipher alg: aes-128' 'cipher mode: cbc'; do
    grep -qx "    $words" <<<"$OUT" || fail "not shown: $words"
done

# Nothing that is said has the password in it, and it is not among the arguments for long.
for words in "info $qcow2" "map $luks" "check $qcow2" "convert $luks none/x" "compare $luks r.raw" "info none"; do
    # shellcheck disable=SC2086 # several words
    run "$BYRE" ${words%% *} --object $good --image-opts ${words#* }
    ! grep -q hunter2 <<<"$OUT$ERR" || fail "the password is shown: $words"
done
! grep -q hunter2 over.qcow2 || fail 'the password is in an image'
mkfifo commands
: >answers
"$BYRE" io --object $good --image-opts $qcow2 <commands >answers 2>&1 &
pid=$!
exec 7>commands
echo 'read 0 512' >&7
await_text 'read 512/512' answers
! grep -q hunter2 "/proc/$pid/cmdline" || fail 'the password is among the arguments'
limit=$(ulimit -l)
if [ "$limit" = unlimited ] || [ "$limit" -ge 1024 ]; then
    [ "$(awk '/^VmLck/ { print $2 }' "/proc/$pid/status")" -gt 0 ] || fail 'no memory is locked'
fi
exec 7>&-
wait "$pid"
