#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A release holds everything that it takes to build, install and test it, and nothing that a build makes.
. "$(dirname "$0")/../lib.sh"

make -s -C "$TEST_BUILD" distdir distdir="$TEST_DIR/release" >log 2>&1 || { cat log; fail 'make distdir'; }
clean_up chmod -R u+w "$TEST_DIR/release"
for file in $(cd "$TEST_TOP" && find include src tests scripts bench fuzz man .ci README.md LICENSE -type f \
    ! -name '*.o' ! -name '*.lo'); do
    [ -e "release/$file" ] || fail "$file is not in the release"
done
found=$(find release \( -name '*.o' -o -name '*.lo' -o -name '*.la' -o -name .git -o -name config.h \))
assert_equal '' "$found" 'files that have no place in a release'

if [ -z "$TEST_QUICK" ]; then
    # a release is built by people who may not write into its source
    chmod -R a-w release
    mkdir build
    cd build || exit
    ../release/configure -q --prefix=/usr >log 2>&1 || { cat log; fail configure; }
    make -s -j2 >log 2>&1 || { cat log; fail make; }
    run_ok ./byre --version
    assert_match "^byre version [0-9]" "$OUT"
fi
