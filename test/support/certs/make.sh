#!/usr/bin/env bash
# Makes the certificates that the tests of TLS use. They stand in the tree, valid for a century, so that a machine
# without openssl can run the tests; run this only to change them.
set -euo pipefail
cd "$(dirname "$0")"
DAYS=36500
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1"
}

# authority NAME: NAME.pem signs itself
authority() {
  key "$work/$1.key"
  openssl req -x509 -new -key "$work/$1.key" -sha256 -days "$DAYS" -subj "/CN=bunsq test $1" -out "$1.pem"
}

# leaf NAME AUTHORITY USAGE [DAYS]: with days below 0 it ended before it began
leaf() {
  key "$1.key"
  openssl req -new -key "$1.key" -subj "/CN=bunsq test $1" -out "$work/$1.csr"
  printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=%s\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n' "$3" > "$work/$1.ext"
  openssl x509 -req -in "$work/$1.csr" -CA "$2.pem" -CAkey "$work/$2.key" -set_serial "0x$(openssl rand -hex 8)" -sha256 -days "${4:-$DAYS}" -extfile "$work/$1.ext" -out "$1.pem"
}

authority ca
authority stranger
leaf server ca serverAuth
leaf client ca clientAuth
leaf foreign stranger clientAuth
leaf node ca serverAuth,clientAuth
leaf expired ca clientAuth -1
