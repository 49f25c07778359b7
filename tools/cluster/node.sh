#!/bin/sh
# One node, as process 1 of its own: mounts, host name, containerd, kubelet, proxy, policies.
# Arguments: its number, the folder of what is its own, of programs, of certificates, of logs.
set -eu
number=$1 own=$2 programs=$3 certificates=$4 logs=$5
name=node$number
export PATH="$programs:$PATH" KUBECACHEDIR=/run/kubectl
hostname "$name"

mount --make-rprivate /
for path in /var/lib/kubelet /var/lib/containerd /var/lib/cni /etc/cni/net.d /var/log/pods /var/log/containers; do
  mkdir -p "$path" "$own$path"
  mount --bind "$own$path" "$path"
done
mount -t tmpfs -o mode=755 tmpfs /run   # sockets, the pods' network namespaces, xtables.lock
mkdir -p /run/lock /run/netns
: > /run/resolv.conf
mount --make-rshared /                  # containerd and the kubelet pass mounts on
# The kubelet sets these, for the whole machine; here it writes to files of its own.
for each in vm/overcommit_memory kernel/panic kernel/panic_on_oops vm/panic_on_oom; do
  mkdir -p "$own/sys/$(dirname $each)"
  cat "/proc/sys/$each" > "$own/sys/$each"
  mount --bind "$own/sys/$each" "/proc/sys/$each"
done

containerd --config "$own/containerd.toml" > "$logs/$name-containerd.log" 2>&1 &
for _ in $(seq 60); do
  ctr version > /dev/null 2>&1 && break
  sleep 0.5
done
kubelet --config="$own/kubelet.yaml" --kubeconfig="$certificates/$name.conf" --hostname-override="$name" \
  --node-ip="$(ip -4 -brief address show lan | sed 's/.* \([0-9.]*\)\/.*/\1/')" > "$logs/$name-kubelet.log" 2>&1 &
kube-proxy --config="$own/kube-proxy.yaml" --hostname-override="$name" > "$logs/$name-kube-proxy.log" 2>&1 &
# Enforces network policies, and does nothing else; it ends where its node is not known yet.
until kubectl --kubeconfig="$certificates/policies.conf" get node "$name" > /dev/null 2>&1; do sleep 1; done
kube-router --run-firewall=true --run-router=false --run-service-proxy=false --enable-ipv6=false \
  --kubeconfig="$certificates/policies.conf" --hostname-override="$name" --metrics-port=0 \
  --service-cluster-ip-range="$6.0.0/16" > "$logs/$name-kube-router.log" 2>&1 &
wait
