#!/bin/sh
# The first peer founds the cluster, the others join it; a peer that was there before comes back.
set -eu
scheme=${PEER_SCHEME:-http}
host=$(hostname)
set -- --uri "$scheme://$host.qdrant-headless:6335"
if [ "$host" != qdrant-0 ]; then
  set -- "$@" --bootstrap "$scheme://qdrant-0.qdrant-headless:6335"
fi
exec ./entrypoint.sh "$@"
