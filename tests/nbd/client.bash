# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# NBD servers for tests of byre as a client: Debian's, on unix sockets in the test's directory.

# In a build without libnbd names are refused, and that is all that there is to see.
if ! has LIBNBD; then
    run_fails 1 "Could not open 'nbd://h/x': .*this byre was built without libnbd" "$BYRE" info nbd://h/x
    run_fails 1 "this byre was built without libnbd" "$BYRE" info 'json:{"driver": "nbd", "path": "s"}'
    exit 0
fi

# end_server NAME [SIGNAL]: ends the server and waits until it is gone.
end_server() {
    local pid
    [ -s "$1.pid" ] || return 0
    pid=$(cat "$1.pid")
    rm -f "$1.pid"
    kill "-${2:-TERM}" "$pid" 2>/dev/null || return 0
    await_end "$pid"
    rm -f "$1.sock"
}

# serve_qemu NAME ARGUMENT...: qemu-nbd on NAME.sock; it returns when the server is ready.
serve_qemu() {
    local name=$1
    shift
    clean_up end_server "$PWD/$name" KILL
    qemu-nbd --fork --pid-file="$PWD/$name.pid" -t -k "$PWD/$name.sock" "$@"
}

# serve_nbdkit NAME ARGUMENT...: the same with nbdkit.
serve_nbdkit() {
    local name=$1
    shift
    rm -f "$name.sock"
    clean_up end_server "$PWD/$name" KILL
    nbdkit -U "$PWD/$name.sock" -P "$PWD/$name.pid" "$@"
}

# uri NAME [EXPORT]
uri() {
    echo "nbd+unix:///${2:-}?socket=$PWD/$1.sock"
}

# node NAME [OPTION=VALUE...]: the export with no name as image options.
node() {
    local name=$1 option
    shift
    printf 'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=%s' "$PWD/$name.sock"
    for option; do
        printf ',file.%s' "$option"
    done
}

# serve_tcp NAME ARGUMENT...: nbdkit on a port of 127.0.0.1 that is free; it is in $PORT.
serve_tcp() {
    local name=$1 try
    shift
    clean_up end_server "$PWD/$name" KILL
    for ((try = 0; try < 50; try++)); do
        PORT=$((20000 + RANDOM % 12000))
        if nbdkit -i 127.0.0.1 -p "$PORT" -P "$PWD/$name.pid" "$@" 2>"$name.err"; then
            return 0
        fi
        grep -q 'already in use' "$name.err" || break
    done
    cat "$name.err"
    fail "nbdkit $*"
}
