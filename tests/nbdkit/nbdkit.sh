# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# For tests of the plugin, after lib.sh: nbdkit with the plugin of the build, on sockets in the test's directory.

. "$TEST_TOP/tests/nbd/map.bash"

PLUGIN=$TEST_BUILD/.libs/nbdkit-byre-plugin.so
[ -e "$PLUGIN" ] || fail "there is no plugin: byre was built without nbdkit's headers"

# nbdkit is built without sanitizers: those of the plugin have to be there first, and only in nbdkit.  It leaves to the
# end of the process what connections have that end with it, which is no leak of the plugin's.
served_by=(env "LD_LIBRARY_PATH=$TEST_BUILD/.libs")
sanitizer=$(ldd "$PLUGIN" | awk '/lib[at]san/ { print $3 }' | head -n 1)
[ -z "$sanitizer" ] || served_by+=("LD_PRELOAD=$sanitizer" "ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0")

# serve NAME [OPTION...] "$PLUGIN" PARAMETER...: an nbdkit in the background, until stop NAME or the end of the test.
# Leaves its address in $URI and its process in $SERVER.  A descriptor 7 is the test's own.
serve() {
    local name=$1
    shift
    rm -f "$name.sock" "$name.pid"
    "${served_by[@]}" nbdkit -f --exit-with-parent -U "$PWD/$name.sock" -P "$PWD/$name.pid" "$@" \
        >"$name.log" 2>&1 </dev/null 7>&- &
    SERVER=$!
    URI="nbd+unix:///?socket=$PWD/$name.sock"
    await [ -s "$name.pid" ] || fail "nbdkit does not get ready: $(cat "$name.log")"
}

# stop NAME: ends it in good order; it shall have complained of nothing.
stop() {
    local code=0 pid
    pid=$(cat "$1.pid")
    kill "$pid"
    wait "$pid" || code=$?
    if [ "$code" != 0 ] || [ -s "$1.log" ]; then
        cat "$1.log"
        fail "nbdkit was to end in silence, and exits with $code"
    fi
}

# stop_failed NAME REGEX: ends it; its log has, or gets by that, a line that matches.
# Any nbdkit with the address sanitizer before it hangs in exit() after an error of the system: the lock of the locale
# stays taken.
stop_failed() {
    kill "$(cat "$1.pid")"
    await_text "$2" "$1.log"
    [ -z "$sanitizer" ] || kill -KILL "$SERVER"
    wait "$SERVER" || true
}

# refused REGEX ARGUMENT...: nbdkit does not start, and says why in a line that matches; a second one may be advice.
refused() {
    local regex=$1
    [ -z "$sanitizer" ] || return 0 # see stop_failed
    shift
    run_fails 1 "$regex" bounded "${served_by[@]}" nbdkit -f -U "$PWD/refused.sock" "$@"
}

# info KEY: what nbdinfo --json says of the export at $URI.
info() {
    nbdinfo --json "$URI" | sed -n 's/^\t"'"$1"'": \(.*[^,]\),\{0,1\}$/\1/p'
}

# assert_serves RAW: what nbdcopy reads from $URI is what this file holds, and as long.
assert_serves() {
    rm -f .served
    nbdcopy "$URI" .served
    assert_same_file "$1" .served
}

# served RAW ARGUMENT... -- PARAMETER...: contents and map of what parameters name are those of RAW and of byre map.
served() {
    local raw=$1 arguments=()
    shift
    while [ "$1" != -- ]; do
        arguments+=("$1")
        shift
    done
    shift
    serve contents -r "$PLUGIN" "$@"
    assert_serves "$raw"
    assert_same_map "${arguments[@]}"
    assert_equal true "$(info is_read_only)" "-r and $*"
    stop contents
}
