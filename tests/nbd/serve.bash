# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Servers for tests: at a UNIX socket in the test's directory, or at a port.

SERVER=$BYRE-nbd
URI="nbd+unix:///?socket=$TEST_DIR/socket"

# start_server OPTION...: clients can come when it returns.
start_server() {
    run_ok "$SERVER" --fork --pid-file="$TEST_DIR/pid" -k "$TEST_DIR/socket" "$@"
}

# start_tcp OPTION...: at a port of localhost that is free; it is in $PORT.  The pid file is that of start_server.
start_tcp() {
    local try
    for ((try = 0; try < 50; try++)); do
        PORT=$((20000 + RANDOM % 12000))
        if "$SERVER" --fork --pid-file="$TEST_DIR/pid" -b localhost -p "$PORT" "$@" 2>tcp.err; then
            return 0
        fi
        grep -q 'already in use' tcp.err || break
    done
    cat tcp.err
    fail "byre-nbd $*"
}

# stop_server [SIGNAL]: it ends, and nothing of it is left.
stop_server() {
    local pid
    [ -e "$TEST_DIR/pid" ] || return 0
    pid=$(cat "$TEST_DIR/pid")
    kill "-${1:-TERM}" "$pid" 2>/dev/null || true
    await_end "$pid"
    if [ "${1:-TERM}" = KILL ]; then
        rm -f "$TEST_DIR/pid"
    else
        assert_missing "$TEST_DIR/pid"
        assert_missing "$TEST_DIR/socket"
    fi
}
clean_up stop_server

# need COMMAND...: the clients of a test.
need() {
    local command
    for command; do
        command -v "$command" >/dev/null || fail "there is no $command: scripts/install-packages test"
    done
}
