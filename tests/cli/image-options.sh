#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# --image-opts, json: and protocol names: what they open, how images are called then, and what is said of mistakes,
# as qemu-img has it.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/cli/side_by_side.sh"
slow

truncate -s 1M r.raw
text 1 100K | put_file r.raw 64K
touch config
cp r.raw a:b
cp r.raw $'a\xc3\xa9"b\\c\td'
qemu-img create -q -f qcow2 q.qcow2 1M
qemu_io -f qcow2 -c 'write -q -P 1 0 64k' q.qcow2
qemu-img create -q -f qcow2 -b q.qcow2 -F qcow2 o.qcow2
qemu_io -f qcow2 -c 'write -q -P 2 128k 64k' o.qcow2
truncate -s 2M big.raw
put_file big.raw 4K <o.qcow2

# What opens, and its name.
for options in driver=qcow2,file.driver=file,file.filename=q.qcow2 file.filename=q.qcow2 \
    driver=raw,file.filename=q.qcow2,offset=4096,size=8192 driver=raw,file.filename=r.raw,offset=1 \
    driver=file,filename=r.raw driver=raw,driver=qcow2,file.filename=o.qcow2 \
    driver=null-co driver=null-co,size=1M,read-zeroes=on driver=blkdebug,image.driver=file,image.filename=r.raw \
    driver=blkdebug,image.filename=r.raw,config=config,align=512 \
    driver=blkdebug,image.filename=r.raw,config=config \
    driver=qcow2,file.driver=blkdebug,file.image.filename=o.qcow2 driver=file,filename=a:b; do
    same_ok info --image-opts "$options"
done
for name in 'json:{"driver":"qcow2","file":{"driver":"file","filename":"o.qcow2"},"backing":null}' \
    "json:{'driver':'raw','file.driver':'file','file':{'filename':'r.raw'}}" \
    'json:{"driver":"raw","size":1048576,"file":{"driver":"raw","offset":0,"file":{"driver":"file","filename":"r.raw"}}}' \
    'json:{"driver":"raw","file":{"driver":"null-co","read-zeroes":true}}' \
    'json:{"driver":"null-co","size":"1M","latency-ns":5}' 'json:{"driver":"null-aio"}' \
    'json:{"driver":"blkdebug","image":{"driver":"raw","offset":0,"file":{"driver":"file","filename":"r.raw"}}}' \
    'json:{"driver":"blkdebug","image":{"driver":"file","filename":"r.raw"},"inject-error":[{"event":"read_aio","errno":5},
        {"event":"l1_update","once":true}],"set-state":[{"event":"read_aio","new_state":2}],"align":512}' \
    'json:{"driver":"raw","size":512,"file":{"driver":"file","filename":"a\u00e9\"b\\c\td"}}' \
    'json:{"driver":"file","filename":"r.raw","aio":"io_uring","locking":"off"}' \
    file:o.qcow2 null-co:// null-aio:// blkdebug::r.raw blkdebug:config:r.raw blkdebug::blkdebug::null-co://; do
    same_ok info "$name"
    # that nothing keeps nothing is not worth a dirty flag to qemu-img
    [[ $name == *null* ]] || same_ok info --output=json "$name"
done
same_ok info -f raw 'json:{"driver":"qcow2","file":{"driver":"file","filename":"o.qcow2"}}'
same_ok info -f raw blkdebug::file:r.raw
same_ok info 'json:{"driver":"compress","file":{"driver":"qcow2","file":{"driver":"file","filename":"q.qcow2"}}}'

# Where the bytes are.
for options in driver=qcow2,file.filename=o.qcow2 driver=qcow2,file.filename=o.qcow2,backing= \
    driver=qcow2,file.filename=o.qcow2,backing.driver=qcow2,backing.file.filename=./q.qcow2 \
    driver=qcow2,file.filename=o.qcow2,backing.driver=raw,backing.offset=512,backing.file.filename=r.raw \
    driver=qcow2,file.driver=blkdebug,file.image.filename=o.qcow2 driver=raw,offset=512,size=64k,file.filename=r.raw \
    driver=compress,file.driver=qcow2,file.file.filename=o.qcow2; do
    run "$THEIRS" map --image-opts "$options"
    ERR='' # "backing=" is warned of there
    want=$OUT
    run_ok "$OURS" map --image-opts "$options"
    assert_equal "$want" "$OUT" "map of $options"
done
same_ok map 'json:{"driver":"qcow2","file":{"driver":"raw","offset":4096,"file":{"driver":"file","filename":"big.raw"}}}'
same_ok map --output=json --image-opts driver=null-co,read-zeroes=on

# Mistakes.
while read -r options; do
    same_fails 1 info --image-opts "$options"
done <<'END'
driver=qcow2,file.filename=q.qcow2,x=1
driver=qcow2,file.filename=q.qcow2,file.x=1
driver=qcow2,file.filename=q.qcow2,backing=x
driver=qcow2,file.filename=q.qcow2,overlap-check=x
driver=qcow2,file.filename=q.qcow2,overlap-check.template=all,overlap-check=none
driver=qcow2,file.filename=q.qcow2,overlap-check.foo=on
driver=qcow2,file.filename=q.qcow2,cache-size=1M,l2-cache-size=1M,refcount-cache-size=1M
driver=qcow2,file.filename=q.qcow2,cache-size=1M,l2-cache-size=2M
driver=qcow2,file.filename=q.qcow2,lazy-refcounts=x
driver=qcow2,file.filename=q.qcow2,cache.writeback=on
driver=qcow2,file.filename=q.qcow2,cache.direct=x
driver=qcow2,file.filename=q.qcow2,detect-zeroes=x
driver=qcow2,file.filename=q.qcow2,discard=x
driver=qcow2,file.filename=q.qcow2,node-name=1
driver=qcow2,file.filename=q.qcow2,file.aio=x
driver=qcow2,file.filename=q.qcow2,file.aio=native
driver=qcow2,file.filename=q.qcow2,file.locking=x
driver=qcow2,file=x
driver=qcow2
driver=nope,file.filename=q.qcow2
driver=raw,file.filename=r.raw,file=x
driver=raw,file.filename=r.raw,offset=abc
driver=raw,file.filename=r.raw,size=2M
driver=raw,file.filename=r.raw,offset=2M
driver=raw,file.filename=r.raw,size=1
driver=raw,,x
driver=file
driver=file,filename=
driver=file,filename=nope
driver=file,filename=file:r.raw
driver=file,filename=/dev/null
driver=host_device,filename=r.raw
driver=blkdebug
driver=blkdebug,image=x
driver=blkdebug,image.filename=r.raw,align=3
driver=blkdebug,image.filename=r.raw,x=3
driver=blkdebug,image.filename=r.raw,inject-error.0.x=1,inject-error.0.event=l1_update
driver=blkdebug,image.filename=r.raw,inject-error.0.errno=5
driver=blkdebug,image.filename=r.raw,inject-error.1.event=l1_update
driver=compress
driver=compress,file.driver=raw,file.file.filename=r.raw
driver=copy-on-read,file.driver=qcow2,file.file.filename=o.qcow2
filename=q.qcow2
q.qcow2
END
while read -r name; do
    same_fails 1 info "$name"
done <<'END'
json:{
json:[]
json:"x"
json:
json:{}
json:{"driver":5}
json:{"driver":"qcow2","file":null}
json:{"driver":"qcow2","file":{"driver":"file","filename":5}}
json:{"driver":"qcow2","file":{"driver":"file","filename":"o.qcow2"},"backing":{"driver":"qcow2"}}
file:nope
nope:x
host_device:r.raw
null-co://x
null-co:
blkdebug:r.raw
blkdebug:
END
same_fails 1 info -f qcow2 null-co://
for options in backing.driver=nope backing.file.filename=nope backing.x=1 backing=node; do
    same_fails 1 map --image-opts "driver=qcow2,file.filename=o.qcow2,$options"
done
for verb in info map check; do
    same_fails 1 "$verb" --image-opts -f raw file.filename=r.raw
done

# The other verbs.
same_ok check --image-opts driver=qcow2,file.filename=o.qcow2
same_ok check --output=json --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=o.qcow2
same_fails 63 check --image-opts driver=raw,file.filename=o.qcow2
same_fails 1 check --image-opts driver=qcow2,file.filename=nope
same_ok compare --image-opts driver=qcow2,file.filename=o.qcow2 driver=qcow2,file.filename=o.qcow2
same_fails 2 compare --image-opts driver=qcow2,file.filename=o.qcow2 driver=qcow2,file.filename=nope
same_fails 2 compare --image-opts -F raw file.filename=o.qcow2 file.filename=o.qcow2
same_ok convert --image-opts driver=qcow2,file.filename=o.qcow2 out.raw
same_ok compare -F raw o.qcow2 out.raw
same_fails 1 convert --target-image-opts o.qcow2 driver=raw,file.filename=out.raw
same_fails 1 convert -n --target-image-opts -O raw o.qcow2 driver=raw,file.filename=out.raw
same_fails 1 convert -f raw --image-opts file.filename=o.qcow2 out.raw
same_fails 1 convert -n --target-image-opts -c o.qcow2 driver=raw,file.filename=out.raw
for options in read-only=on file.read-only=on x=on; do
    same_fails 1 convert -n --target-image-opts o.qcow2 "driver=raw,file.filename=out.raw,$options"
done
same_ok convert -n --target-image-opts o.qcow2 driver=null-co,size=1M
same_fails 1 convert -n --target-image-opts o.qcow2 driver=null-co,size=1k
for name in null-co:// nope:x blkdebug::x 'json:{"driver":"null-co"}'; do
    same_fails 1 convert -O raw o.qcow2 "$name"
    same_fails 1 create -f raw "$name" 1M
done
same_ok create -f qcow2 file:c.qcow2 1M
assert_clean c.qcow2

# Into a part of a file, and compressed.
truncate -s 4M target.raw
run_ok "$BYRE" convert -n --target-image-opts o.qcow2 driver=raw,offset=1M,size=1M,file.filename=target.raw
assert_same_disk --image-opts driver=qcow2,file.filename=o.qcow2 driver=raw,offset=1M,size=1M,file.filename=target.raw
qemu-img create -q -f qcow2 small.qcow2 1M
run_ok "$BYRE" convert -n --target-image-opts r.raw driver=compress,file.driver=qcow2,file.file.filename=small.qcow2
assert_same_disk -f raw -F qcow2 r.raw small.qcow2
run "$BYRE" check small.qcow2
assert_match '100.00% compressed' "$OUT"


# discard-no-unref, which qemu-img 7.2 has not: clusters keep their places
for keep in on off; do
    qemu-img create -q -f qcow2 keep.qcow2 1M
    qemu_io -f qcow2 -c 'write -q -P 3 0 1M' keep.qcow2
    run_ok "$BYRE" io -d unmap --image-opts -c 'discard -q 128k 128k' -c 'read -q -P 0 128k 128k' \
        driver=qcow2,discard-no-unref=$keep,file.filename=keep.qcow2
    assert_clean keep.qcow2
    run_ok "$BYRE" map --output=json keep.qcow2
    if [ $keep = on ]; then
        assert_match '"start": 131072, "length": 131072, "depth": 0, "present": true, "zero": true, "data": false, "offset"' "$OUT"
    else
        assert_match '"start": 131072, "length": 131072, "depth": 0, "present": true, "zero": true, "data": false}' "$OUT"
    fi
done
qemu-img create -q -f qcow2 -o compat=v2 old.qcow2 1M
run_fails 1 'discard-no-unref is only supported since qcow2 version 3' \
    "$BYRE" io --image-opts -c 'read 0 1' driver=qcow2,discard-no-unref=on,file.filename=old.qcow2
