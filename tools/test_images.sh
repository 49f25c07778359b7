#!/bin/sh
# Makes everything that tests/deploy/test_containers.py runs, with no registry: a Debian base by
# debootstrap, a wheelhouse of what constraints.txt pins, the five images, and beside them Redis
# (Debian's) and Qdrant's engine behind our server. Their names begin with realm-test/.
# Needs root and a Docker daemon. Argument: the Python of the virtual environment.
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
docker=${REALM_TEST_DOCKER:-docker}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$root"

if [ -z "${BASE_IMAGE:-}" ]; then
  BASE_IMAGE=realm-test/base
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    bookworm "$scratch/base" "$mirror" > "$scratch/log" || { tail "$scratch/log"; exit 1; }
  rm -rf "$scratch/base/var/cache/apt/archives" "$scratch/base/var/lib/apt/lists"
  tar -C "$scratch/base" -c . | "$docker" import - "$BASE_IMAGE" > /dev/null
fi
debootstrap --variant=minbase --include=redis-server \
  bookworm "$scratch/redis" "$mirror" > "$scratch/log" || { tail "$scratch/log"; exit 1; }
tar -C "$scratch/redis" -c . | "$docker" import - realm-test/redis > /dev/null

# Everything pinned, so that it suits a base whose Python differs a little from this one.
mkdir "$scratch/wheels"
"$python" tools/locked.py constraints.txt > "$scratch/versions.txt"
"$python" -m pip download -qq --no-deps --dest "$scratch/wheels" \
  --requirement "$scratch/versions.txt"
tar -C "$scratch/wheels" -c . | "$docker" import - realm-test/wheelhouse > /dev/null

for each in indexer gateway web embedder trainer qdrant-edge; do
  file=deploy/docker/$each.Dockerfile
  [ -f "$file" ] || file=tests/deploy/qdrant_edge.Dockerfile
  DOCKER_BUILDKIT=1 "$docker" build --quiet --network none --file "$file" \
    --tag "realm-test/$each" --build-arg "BASE_IMAGE=$BASE_IMAGE" \
    --build-arg WHEELHOUSE=realm-test/wheelhouse . > /dev/null
  "$docker" image inspect --format "realm-test/$each: {{.Size}} bytes" "realm-test/$each"
done
