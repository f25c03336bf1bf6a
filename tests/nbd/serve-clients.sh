#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Serving disks to libnbd's tools and to QEMU's: what they see is what is in the image, and what they write is there.
. "$(dirname "$0")/../lib.sh"
. "$TEST_TOP/tests/nbd/serve.bash"
need nbdinfo nbdcopy
slow

# extents: "START LENGTH TYPE" of base:allocation, as nbdinfo prints it; and what byre map says, in the same words.
served() {
    nbdinfo --map "$URI" | awk '{ print $1, $2, $3 }'
}
mapped() {
    "$BYRE" map --output=json "$1" | perl -MJSON::PP -e 'local $/; my @all;
        for (@{decode_json(<STDIN>)}) {
            my $type = $_->{zero} ? 3 : 0;
            if (@all && $all[-1][2] == $type) { $all[-1][1] += $_->{length} }
            else { push @all, [$_->{start}, $_->{length}, $type] }
        }
        print "@$_\n" for @all'
}

qemu-img create -q -f qcow2 -o cluster_size=4k base.qcow2 5M
qemu_io -f qcow2 -c 'write -q -P 1 0 700k' -c 'write -q -P 2 2M 300k' base.qcow2
for options in cluster_size=4k cluster_size=64k,compat=0.10 extended_l2=on,cluster_size=16k; do
    for backing in '' '-b base.qcow2 -F qcow2'; do
        rm -f image.qcow2 ./*.raw
        # shellcheck disable=SC2086 # words
        qemu-img create -q -f qcow2 $backing -o "$options" image.qcow2 6M
        qemu_io -f qcow2 -c 'write -q -P 3 640k 320k' -c 'write -q -z 2176k 128k' -c 'write -q -c -P 4 3M 64k' \
            -c 'write -q -P 5 5M 64k' image.qcow2
        qemu-img convert -f qcow2 -O raw image.qcow2 plain.raw

        start_server -r -t -e 0 -A -D 'a disk' -x disk image.qcow2
        URI="nbd+unix:///disk?socket=$TEST_DIR/socket"
        run_ok nbdinfo --json "$URI"
        perl -MJSON::PP -e 'local $/; my $e = decode_json(<STDIN>)->{exports}[0];
            exit !($e->{"export-size"} == 6291456 && $e->{is_read_only} && $e->{can_multi_conn} && $e->{can_df} &&
                   $e->{"export-name"} eq "disk" && $e->{description} eq "a disk" &&
                   "@{$e->{contexts}}" eq "base:allocation qemu:allocation-depth")' <<<"$OUT" || fail "nbdinfo: $OUT"
        assert_equal "$(mapped image.qcow2)" "$(served)" "extents"
        run_ok nbdinfo --list "nbd+unix:///?socket=$TEST_DIR/socket"
        assert_match 'export="disk"' "$OUT"
        run_fails 1 'No such file or directory for export: other' nbdinfo "nbd+unix:///other?socket=$TEST_DIR/socket"
        run_ok nbdcopy --connections=4 "$URI" copied.raw
        assert_same_file plain.raw copied.raw
        run_ok qemu-img convert -f raw -O raw "$URI" converted.raw
        assert_same_file plain.raw converted.raw
        depths=$(nbdinfo --map=qemu:allocation-depth "$URI" | awk '{ print $3 }' | sort -u | tr '\n' ' ')
        assert_equal "0 1 ${backing:+2 }" "$depths" "layers"
        run qemu-io -f raw -c 'write 0 512' "$URI"
        assert_match 'read-only|Permission denied|not permitted' "$OUT$ERR"
        stop_server
        URI="nbd+unix:///?socket=$TEST_DIR/socket"

        # what is written comes back, and is in the image
        noise 7 1500000 >new.raw
        truncate -s 6M new.raw
        start_server -t -e 4 image.qcow2
        run_ok nbdcopy --connections=4 --requests=64 new.raw "$URI"
        run_ok qemu-io -f raw -c 'write -q -P 6 1M 100k' -c 'write -q -z 1500k 64k' -c 'discard -q 2M 64k' \
            -c 'write -q -f -P 8 3000k 512' -c 'write -q -P 9 4M 2M' -c 'flush' -c 'read -q -P 6 1M 100k' \
            -c 'read -q -P 0 1500k 64k' "$URI"
        assert_equal '' "$(grep -i fail <<<"$OUT" || true)" "qemu-io"
        qemu_io -f raw -c 'write -q -P 6 1M 100k' -c 'write -q -z 1500k 64k' -c 'write -q -P 8 3000k 512' \
            -c 'write -q -P 9 4M 2M' new.raw
        stop_server
        assert_checked image.qcow2
        assert_clean image.qcow2
        run_ok "$BYRE" compare -f raw -F qcow2 new.raw image.qcow2
        [ -z "$TEST_QUICK" ] || break
    done
done

# what nobody can change goes from the page cache to the client, in pieces as its socket takes them
noise 11 24000000 >big.raw
truncate -s 32M big.raw
qemu-img convert -O qcow2 big.raw big.qcow2
for requests in --request-size=262144 --request-size=4194304; do
    start_server -r -t -e 0 big.qcow2
    run_ok nbdcopy --connections=3 "$requests" "$URI" copied.raw
    assert_same_file big.raw copied.raw
    stop_server
done

# raw, encrypted, and by options; a server that ends with its only client
text 3 100000 >x.raw
truncate -s 1M x.raw
start_server -f raw x.raw
pid=$(cat pid)
run_ok nbdcopy "$URI" y.raw
await_end "$pid"
assert_missing socket
assert_same_file x.raw y.raw
run_ok "$BYRE" create -q --object secret,id=s,data=open -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 \
    luks.qcow2 1M
start_server -t --object secret,id=s,data=open --image-opts driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s
run_ok nbdcopy x.raw "$URI"
stop_server INT
run_ok "$BYRE" compare --object secret,id=s,data=open --image-opts driver=raw,file.filename=x.raw \
    driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s

# TCP
start_tcp -r -t -f raw x.raw
run_ok nbdcopy "nbd://localhost:$PORT" z.raw
assert_same_file x.raw z.raw
stop_server

# byre serve is byre-nbd; so is qemu-nbd where that is its name
run_ok "$BYRE" serve --fork --pid-file="$TEST_DIR/pid" -k socket -t --cache=none --discard=off --detect-zeroes=on \
    --handshake-limit=5 --allow-backing=protocol -v -f raw x.raw
run_ok nbdinfo --size "$URI"
assert_equal 1048576 "$OUT" size
stop_server
start_server -n -r -f raw -e 2 x.raw
pid=$(cat pid)
run_ok nbdinfo --size "$URI"
await_end "$pid"
for program in "$SERVER" "$BYRE"; do
    ln -sf "$program" qemu-nbd
    run_fails 1 "^qemu-nbd: " ./qemu-nbd
done
run_ok "$BYRE" serve --help
help=$OUT
run_ok "$BYRE" help serve
assert_equal "$help" "$OUT" 'byre help serve'
