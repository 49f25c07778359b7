#!/bin/sh
# Writes constraints.txt for what `pip install .[chaos]` resolves to: the versions that it pins
# already and, of what is new, or of all with a third argument, today's.
set -eu
python=$1 torch=$2 upgrade=${3:-}
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
touch "$scratch/versions.txt"
[ -n "$upgrade" ] || "$python" "$root/tools/locked.py" "$root/constraints.txt" \
  > "$scratch/versions.txt"
"$scratch/venv/bin/python" -m pip install --quiet "$torch"
"$scratch/venv/bin/python" -m pip install --quiet --constraint "$scratch/versions.txt" \
  "$root[chaos]" "setuptools>=77" packaging uv
cd "$root"
"$scratch/venv/bin/python" -m tools.lock
