# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Keys and certificates for tests, and servers that use them.

# quietly COMMAND...: shows what it says only if it fails.
quietly() {
    "$@" >tool.log 2>&1 || { cat tool.log; fail "$*"; }
}

# certificate NAME AUTHORITY LINE...: NAME-cert.pem and NAME-key.pem in keys/; AUTHORITY may be NAME itself.
certificate() {
    local name=$1 ca=$2 how=(--generate-self-signed)
    shift 2
    [ "$name" = "$ca" ] ||
        how=(--generate-certificate --load-ca-certificate "keys/$ca-cert.pem" --load-ca-privkey "keys/$ca-key.pem")
    mkdir -p keys
    printf '%s\n' "$@" >"keys/$name.cfg"
    quietly certtool --generate-privkey --key-type=ecdsa --outfile "keys/$name-key.pem"
    quietly certtool "${how[@]}" --load-privkey "keys/$name-key.pem" --template "keys/$name.cfg" \
        --outfile "keys/$name-cert.pem"
}

# authority NAME
authority() {
    certificate "$1" "$1" "cn = $1" ca cert_signing_key
}

# kept DIR AUTHORITY [SERVER] [CLIENT]: a directory as QEMU and libnbd want it.
kept() {
    mkdir -p "$1"
    cp "keys/$2-cert.pem" "$1/ca-cert.pem"
    if [ -n "${3:-}" ]; then
        cp "keys/$3-cert.pem" "$1/server-cert.pem"
        cp "keys/$3-key.pem" "$1/server-key.pem"
    fi
    if [ -n "${4:-}" ]; then
        cp "keys/$4-cert.pem" "$1/client-cert.pem"
        cp "keys/$4-key.pem" "$1/client-key.pem"
    fi
}

# shared_key DIR USER DIGIT: DIR/keys.psk has a key of this digit for the user.
shared_key() {
    mkdir -p "$1"
    printf '%s:%064d\n' "$2" "$3" >>"$1/keys.psk"
}
