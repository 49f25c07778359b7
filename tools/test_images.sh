#!/bin/sh
# Makes everything that tests/deploy/test_containers.py and tools/cluster run, with no registry: a
# Debian base by debootstrap, a wheelhouse of what constraints.txt pins, the images, and beside them
# Redis (Debian's) and Qdrant's engine behind our server. Their names begin with realm-test/.
# Needs root and a Docker daemon; what that has already stays. Argument: the Python of the virtual
# environment.
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
docker=${REALM_TEST_DOCKER:-docker}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$root"

is_there() {
  "$docker" image inspect "$1" > /dev/null 2>&1
}

bootstrap() { # image, packages
  is_there "$1" && return
  debootstrap --variant=minbase --include="$2" bookworm "$scratch/root" "$mirror" \
    > "$scratch/log" || { tail "$scratch/log"; exit 1; }
  rm -rf "$scratch/root/var/cache/apt/archives" "$scratch/root/var/lib/apt/lists"
  tar -C "$scratch/root" -c . | "$docker" import - "$1" > /dev/null
  rm -rf "$scratch/root"
}

build() { # image, Dockerfile
  DOCKER_BUILDKIT=1 "$docker" build --quiet --network none --file "$2" --tag "realm-test/$1" \
    --build-arg "BASE_IMAGE=$BASE_IMAGE" --build-arg "WHEELHOUSE=$wheelhouse" . > /dev/null
  "$docker" image inspect --format "realm-test/$1: {{.Size}} bytes" "realm-test/$1"
}

if [ -z "${BASE_IMAGE:-}" ]; then
  BASE_IMAGE=realm-test/base
  bootstrap "$BASE_IMAGE" python3,python3-venv,ca-certificates
fi
bootstrap realm-test/redis redis-server

# Everything pinned, so that it suits a base whose Python differs a little from this one; and what
# PyTorch needs beyond, which is something where the index offers the build for CUDA alone.
"$python" tools/locked.py constraints.txt > "$scratch/versions.txt"
version=$(cksum < "$scratch/versions.txt" | cut -d' ' -f1)
variant=cpu
if is_there "realm-test/wheelhouse-cuda:$version"; then
  variant=cuda
elif ! is_there "realm-test/wheelhouse-cpu:$version"; then
  mkdir "$scratch/wheels"
  "$python" -m pip download -qq --no-deps --dest "$scratch/wheels" \
    --requirement "$scratch/versions.txt"
  "$python" -m pip download -qq --dest "$scratch/wheels" --constraint "$scratch/versions.txt" \
    "$(grep '^torch==' "$scratch/versions.txt")"
  if ls "$scratch"/wheels/nvidia_* > /dev/null 2>&1; then variant=cuda; fi
  tar -C "$scratch/wheels" -c . \
    | "$docker" import - "realm-test/wheelhouse-$variant:$version" > /dev/null
  rm -rf "$scratch/wheels"
fi
wheelhouse=realm-test/wheelhouse-$variant:$version

for each in indexer web; do
  build "$each" "deploy/docker/$each.Dockerfile"
done
build qdrant-edge tests/deploy/qdrant_edge.Dockerfile
if [ "$variant" = cpu ]; then
  for each in gateway embedder trainer; do
    build "$each" "deploy/docker/$each.Dockerfile"
  done
else
  build torch tests/deploy/torch.Dockerfile
  for each in gateway embedder trainer; do
    printf 'FROM realm-test/torch\nENTRYPOINT ["python", "-m", "services.%s"]\n' "$each" \
      | "$docker" build --quiet --tag "realm-test/$each" - > /dev/null
  done
fi
