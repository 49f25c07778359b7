#!/bin/sh
# Joins where qdrant_join.py found a cluster; else founds one, or comes back to its own.
set -eu
set -- --uri "${PEER_SCHEME:-http}://$(hostname).qdrant-headless:6335"
join_at=$(cat "${JOIN_AT:-/qdrant/init/join-at}")
if [ -n "$join_at" ]; then
  set -- "$@" --bootstrap "$join_at"
fi
exec ./entrypoint.sh "$@"
