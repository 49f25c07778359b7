#!/bin/sh
# Checks what is deployed as far as this machine can, and says what it could not check.
# Argument: the Python of the virtual environment.
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
cd "$root"
unchecked=""

# Said where a check fails, too.
finish() {
  [ -z "$unchecked" ] || echo "not checked:$unchecked"
  if [ -f "$scratch/dockerd.pid" ]; then
    kill "$(cat "$scratch/dockerd.pid")" 2> /dev/null || true
    wait
  fi
  rm -rf "$scratch"
}
trap finish EXIT

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
"$python" -m pytest tests/deploy tests/observe/test_alerts.py -m "not slow"

# Debian's docker, started by hand, when none answers and root asks for it.
docker=${REALM_TEST_DOCKER:-docker}
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  command -v debootstrap > /dev/null || apt-get install -qq --yes debootstrap > /dev/null 2>&1 || true
  if ! "$docker" info > /dev/null 2>&1; then
    apt-get install -qq --yes docker.io > /dev/null 2>&1 || true
    docker=/usr/bin/docker
    dockerd --data-root "$scratch/docker" --pidfile "$scratch/dockerd.pid" \
      > "$scratch/dockerd.log" 2>&1 &
    for _ in $(seq 30); do "$docker" info > /dev/null 2>&1 && break; sleep 1; done
  fi
fi
if ! "$docker" info > /dev/null 2>&1; then
  not_checked "images: no Docker daemon answers, so none was built or started"
elif [ "$(id -u)" != 0 ] || ! command -v debootstrap > /dev/null; then
  not_checked "images: their base is made by debootstrap, as root"
else
  export REALM_TEST_DOCKER="$docker" REALM_TEST_IMAGES=realm-test/
  sh tools/test_images.sh "$python"
  "$python" -m pytest tests/deploy/test_containers.py
  if "$docker" image inspect realm-test/torch > /dev/null 2>&1; then
    not_checked "gateway, embedder, trainer by their own Dockerfiles: the index has PyTorch for CUDA alone"
  else
    not_checked "the images for CUDA: only those for processors were built"
  fi
  not_checked "the images redis, qdrant, prometheus and grafana: no registry was asked for them"
fi

kube=${REALM_TEST_KUBE_BIN:-}
if [ -z "$kube" ]; then
  not_checked "an API server: REALM_TEST_KUBE_BIN=folder names none; Kubernetes is built there, by Go"
else
  "$python" -m tools.cluster programs "$kube"
  "$python" -m pytest tests/deploy/test_api_server.py
fi
if kubectl get --raw /version --request-timeout=5s > /dev/null 2>&1; then
  kubectl apply --dry-run=server --kustomize deploy/k8s/overlays/cluster
else
  not_checked "a cluster: none answers kubectl, so nothing has run on its nodes"
fi
not_checked "network policies, volumes, drained nodes: \`make test-cluster\` does"
not_checked "autoscaling, Qdrant as three peers: only a cluster of several machines can"
