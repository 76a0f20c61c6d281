#!/bin/sh
# Makes, once, what the parts of this cluster prove themselves to each other with: an authority, a certificate for each
# server, passwords. Nothing of it is in the checkout; deleting the volume makes all of it anew. Devices and people
# have certificates of another authority, the one of `wardline init`.
set -eu
out=${1:-/secrets}
if [ -e "$out/done" ]; then exit 0; fi
umask 077
mkdir -p "$out/nats" "$out/postgres" "$out/objects" "$out/wardline"
cd "$out"

# Reads without a prompt, so that a second run after a cut is the first run.
openssl ecparam -name prime256v1 -genkey -noout -out authority.key
openssl req -x509 -new -key authority.key -days 3650 -subj "/CN=Wardline cluster" -out authority.pem

# Folder, names in the certificate.
issue() {
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1/key.pem"
    openssl req -new -key "$1/key.pem" -subj "/CN=$1" -out "$1/request"
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$2" >"$1/names"
    openssl x509 -req -in "$1/request" -CA authority.pem -CAkey authority.key -CAcreateserial -days 3650 \
        -extfile "$1/names" -out "$1/cert.pem"
    rm "$1/request" "$1/names"
    cp authority.pem "$1/ca.pem"
}
issue nats DNS:nats-1,DNS:nats-2,DNS:nats-3
issue postgres DNS:postgres
issue objects DNS:objects
issue wardline DNS:wardline

secret() { openssl rand -hex 24; }
password=$(secret)
printf '%s' "$password" >postgres/password
printf 'postgres://wardline:%s@postgres/wardline?sslmode=verify-full&sslrootcert=/secrets/wardline/ca.pem' \
    "$password" >wardline/store-url
access=$(secret) key=$(secret)
printf 'access_key_id = "%s"\nsecret_access_key = "%s"\n' "$access" "$key" >wardline/objects.toml
printf '{"identities":[{"name":"wardline","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin"]}]}\n' \
    "$access" "$key" >objects/identities.json

# Who reads what: the database's user in its image, the object store's group in its own, the gateway's in ours.
if [ "$(id -u)" = 0 ]; then
    chmod 0711 . && chown -R 0:0 nats && chown -R 999:999 postgres && chown -R 0:1000 objects
    chmod 0750 objects && chmod 0640 objects/* && chown -R 10001:10001 wardline
fi
touch done
