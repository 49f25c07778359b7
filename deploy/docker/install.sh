#!/bin/sh
# Installs one service into /opt/realm, in two steps so that a change of code installs no library:
#   install.sh needs SERVICE VARIANT TORCH   what its extra needs, by hash, less what nobody imports
#   install.sh code SERVICE                  realm itself, the bill of materials; no installer stays
# SERVICE may be several, with commas between.
# Wheels come from /wheelhouse if there are any, else from the package index.
set -eu
step=$1 service=$2
python=/opt/realm/bin/python

if [ -n "$(ls /wheelhouse 2>/dev/null)" ]; then
  export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheelhouse
  unset TORCH_INDEX_URL || true
fi
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

needs() {
  variant=$1 torch=$2
  python3 -m venv /opt/realm
  python3 /build/locked.py /source/constraints.txt build $(echo "$service" | tr , ' ') > /tmp/locked.txt
  "$python" -m pip install --require-hashes --no-deps --requirement /tmp/locked.txt
  if [ "$service" != indexer ] && [ "$service" != web ]; then
    # From an index of its own, perhaps, so by version. Only builds for CUDA need more than is there.
    "$python" -m pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
  fi
  # Fails if anything that the extra needs is not there.
  "$python" -m pip install --no-index --no-build-isolation "/source[$service]"
  "$python" -m pip check

  found=$("$python" -m pip list --format=freeze | grep -i '^nvidia-' || true)
  if [ "$variant" = cpu ] && [ -n "$found" ]; then
    echo "this is torch for CUDA, but VARIANT is cpu: give TORCH_INDEX_URL an index of CPU builds," \
      "or a wheelhouse with one; found:" $found >&2
    exit 1
  fi
  trim
}

# The base model's package names a library that wraps it, and that one two for statistics: realm
# reads the model's files itself. PyTorch brings its own tests, headers and a protoc.
trim() {
  "$python" -m pip uninstall --yes --quiet sentence-transformers scikit-learn scipy
  for torch in /opt/realm/lib/python3*/site-packages/torch; do
    rm -rf "$torch/test" "$torch/include" "$torch"/bin/test_* "$torch"/bin/*Test "$torch"/bin/protoc*
  done
}

code() {
  "$python" -m pip install --no-deps --no-build-isolation --force-reinstall /source
  # PyTorch names setuptools among its needs, but only to build extensions.
  "$python" -m pip uninstall --yes --quiet setuptools pip
  "$python" /build/sbom.py "realm-$service" > /opt/realm/sbom.json
}

shift 2
"$step" "$@"
