#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The demo runs through on a small directory, cleans up behind itself, and notices a byte that is wrong.
. "$(dirname "$0")/../lib.sh"

export BYRE
mkdir tree work
cp -r "$TEST_TOP/src" "$TEST_TOP/include" tree
text 1 3000000 >tree/text
noise 1 1000000 >tree/noise
TMPDIR=$TEST_DIR/work "$TEST_TOP/scripts/demo" tree >log 2>&1 || { cat log; fail scripts/demo; }
tail -n 1 log | grep -q '^All images are whole'
grep -q 'changed-by-byre' log
assert_equal '' "$(ls work)" 'files that the demo leaves'

# A program that gets one byte wrong on the way back is found out.
cat >liar <<'END'
#!/bin/bash
"$HONEST" "$@" || exit
case $* in
*'-O raw'*) printf x | dd of="${*: -1}" bs=1 seek=5000 conv=notrunc status=none ;;
esac
END
chmod +x liar
export HONEST=$BYRE
BYRE=$TEST_DIR/liar
if TMPDIR=$TEST_DIR/work "$TEST_TOP/scripts/demo" tree >log 2>&1; then
    cat log
    fail 'the demo believes everything'
fi
grep -q 'failed with exit code 1: cmp' log
assert_equal '' "$(ls work)" 'files that the demo leaves'
