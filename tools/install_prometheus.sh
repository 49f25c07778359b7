#!/bin/sh
# Prometheus, promtool and Chromium from Debian, for the tests in tests/observe. Starts no service.
set -eu
if command -v prometheus >/dev/null && command -v promtool >/dev/null \
    && command -v chromium >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "as root on Debian: apt-get install prometheus chromium" >&2
    exit 1
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update
apt-get install -y --no-install-recommends prometheus chromium
