#!/bin/sh
# Installs one service into /opt/realm, in two steps so that a change of code installs no library:
#   install.sh needs SERVICE VARIANT TORCH   what its extra names, pinned, less what nobody imports
#   install.sh code SERVICE                  realm itself, the bill of materials; no installer stays
# Wheels come from /wheelhouse if there are any, else from the package index.
set -eu
step=$1 service=$2
python=/opt/realm/bin/python

if [ -n "$(ls /wheelhouse 2>/dev/null)" ]; then
  export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheelhouse
  unset TORCH_INDEX_URL || true
fi
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/source/constraints.txt

needs() {
  variant=$1 torch=$2
  python3 -m venv /opt/realm
  if [ "$service" != indexer ] && [ "$service" != web ]; then
    # First and alone, so that one index gives torch and another everything else.
    "$python" -m pip install --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
  fi
  "$python" -m pip install "/source[$service]"
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
  "$python" -m pip install --no-deps --force-reinstall /source
  # PyTorch names setuptools among its needs, but only to build extensions.
  "$python" -m pip uninstall --yes --quiet setuptools pip
  "$python" /build/sbom.py "realm-$service" > /opt/realm/sbom.json
}

shift 2
"$step" "$@"
