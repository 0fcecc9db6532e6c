#!/usr/bin/env bash
# The main job on a real file: start a server, upload, list, check, download, compare. `make demo` runs it.
set -euo pipefail

size_mib=${DEMO_MIB:-256}
readme=$(cd "$(dirname "$0")/.." && pwd)/README.md
work=$(mktemp -d)
server=

stop() {
    status=$?
    if [ -n "$server" ] && kill "$server" 2>/dev/null; then
        wait "$server" || true
    fi
    rm -rf "$work"
    [ "$status" -eq 0 ] || echo "demo: FAILED" >&2
    exit "$status"
}
trap stop EXIT

run() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

cd "$work"
mkdir storage back
cp "$readme" README.md
head -c "$((size_mib * 1024 * 1024))" /dev/urandom > big.mp4

printf '\033[1m$ ftpd --root storage --port 0 &\033[0m\n'
ftpd --root storage --port 0 -q > server.txt &
server=$!
for _ in $(seq 100); do
    grep -qs '^try:' server.txt && break
    kill -0 "$server" 2>/dev/null || { echo "demo: the server did not start" >&2; exit 1; }
    sleep 0.1
done
cat server.txt
FTPC_SERVER=$(sed -n 's/^try: ftpc --server \(.*\) ls$/\1/p' server.txt)
export FTPC_SERVER

run ftpc put big.mp4 README.md
run ftpc ls -lh
run ftpc md5 big.mp4
run md5sum big.mp4
[ "$(ftpc md5 big.mp4)" = "$(md5sum big.mp4)" ]
run ftpc get big.mp4 README.md -o back
run cmp big.mp4 back/big.mp4
run cmp README.md back/README.md
[ -z "$(find storage/.ftpd/tmp -type f)" ]
printf '\nUploaded, listed, checked and downloaded: identical.\n'
