#!/bin/sh
# A Kubernetes API server, its controllers, a scheduler and etcd for tests/deploy/test_api_server.py,
# from Debian 12's packages alone. Argument: the folder to put them in. Needs root, 3 GB in /tmp, minutes.
#
# Its source package is the last that holds the servers; later ones hold kubectl alone. 1.20 is older
# than realm asks for. Where other binaries can be had, put those of a newer version in the folder.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
version=1.20.5+really1.20.2
[ ! -x "$folder/kube-scheduler" ] || exit 0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

apt-get install -qq --yes --no-install-recommends golang-go > /dev/null
apt-get download -qq -o APT::Sandbox::User=root etcd-server golang-github-modern-go-reflect2-dev
for package in *.deb; do dpkg -x "$package" debian; done
cp debian/usr/bin/etcd "$folder"

# Sources of its own: this machine's lists may name none.
mkdir -p apt/lists/partial apt/archives/partial
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb-src [signed-by=$key] $mirror bookworm main" > apt/sources
set -- -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$scratch/apt/sources" -o Dir::Etc::SourceParts=- \
  -o Dir::State::Lists="$scratch/apt/lists" -o Dir::Cache::Archives="$scratch/apt/archives"
apt-get update -qq "$@"
apt-get source -qq --download-only "$@" "kubernetes=$version-1.1+deb12u1"

export GO111MODULE=off GOPATH="$scratch/go" GOCACHE="$scratch/cache" CGO_ENABLED=0
mkdir -p "$GOPATH/src/k8s.io/kubernetes"
tar -xzf "kubernetes_$version.orig.tar.gz" -C "$GOPATH/src/k8s.io/kubernetes" --strip-components=1
cd "$GOPATH/src/k8s.io/kubernetes"

# One generated file is not part of the source: the schema of everything.
go build -o "$scratch/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
inputs=$(grep -rl --include='*.go' --exclude='zz_generated*' '+k8s:openapi-gen=' pkg vendor/k8s.io/*/ \
  | grep -vE '^vendor/k8s.io/(code-generator|sample-apiserver|kube-openapi|gengo)/' \
  | xargs -n1 dirname | sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,)
"$scratch/openapi-gen" --input-dirs "$inputs" --output-file-base zz_generated.openapi \
  --output-package k8s.io/kubernetes/pkg/generated/openapi --report-filename "$scratch/report" \
  --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt

# Its own copy of this library ends a program that was made by a Go newer than 1.17.
rm -r vendor/github.com/modern-go/reflect2
cp -r "$scratch/debian/usr/share/gocode/src/github.com/modern-go/reflect2" vendor/github.com/modern-go

flags="-s -w"
for package in component-base/version client-go/pkg/version; do
  say=k8s.io/kubernetes/vendor/k8s.io/$package
  flags="$flags -X $say.gitVersion=v1.20.2 -X $say.gitMajor=1 -X $say.gitMinor=20"
done
go build -tags providerless -o "$folder" -ldflags "$flags" \
  ./cmd/kube-apiserver ./cmd/kube-controller-manager ./cmd/kube-scheduler
