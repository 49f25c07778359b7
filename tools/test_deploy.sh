#!/bin/sh
# Checks what is deployed as far as this machine can, and says what it could not check.
# Argument: the Python of the virtual environment.
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$root"
unchecked=""

not_checked() {
  unchecked="$unchecked
  - $1"
}

# Debian's package holds promtool; unpacked beside, it needs no root.
if ! command -v promtool > /dev/null && command -v apt-get > /dev/null; then
  (cd "$scratch" && apt-get download --quiet prometheus && dpkg -x prometheus_*.deb .) || true
  PATH=$PATH:$scratch/usr/bin
fi
command -v promtool > /dev/null \
  || not_checked "rules: promtool is not installed and Debian's packages are out of reach"
command -v kubectl > /dev/null || not_checked "manifests: kubectl is not installed"
"$python" -m pytest tests/deploy tests/observe/test_alerts.py

if docker info > /dev/null 2>&1; then
  for service in indexer gateway embedder trainer; do
    docker build --quiet --file "deploy/docker/$service.Dockerfile" --tag "realm-test/$service" \
      ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} \
      ${TORCH_CPU_INDEX:+--build-arg "TORCH_INDEX_URL=$TORCH_CPU_INDEX"} \
      ${WHEELHOUSE:+--build-context "wheelhouse=$WHEELHOUSE"} .
    # Without settings for a cluster each still has to load and to say what it lacks.
    docker run --rm --read-only --tmpfs /tmp --network none --entrypoint python \
      "realm-test/$service" -c "import os, services.$service.main; assert os.getuid() == 10001"
    docker image inspect --format "$service: {{.Size}} bytes" "realm-test/$service"
  done
else
  not_checked "images: no docker daemon answers, so none was built or started"
fi

if kubectl get --raw /version --request-timeout=5s > /dev/null 2>&1; then
  kubectl apply --dry-run=server --kustomize deploy/k8s/overlays/cluster
else
  not_checked "a cluster: none answers kubectl, so no API server has seen the manifests"
fi

if [ -n "$unchecked" ]; then
  echo "not checked:$unchecked"
fi
