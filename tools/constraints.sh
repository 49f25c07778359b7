#!/bin/sh
# Writes constraints.txt: every version that `pip install .[chaos]` resolves to today.
set -eu
python=$1 torch=$2
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet "$torch"
"$scratch/venv/bin/python" -m pip install --quiet "$root[chaos]"
{
  echo "# Made by \`make constraints\`: every version pinned, for a reproducible install."
  # A local version (+cpu) is one machine's build of the same release.
  "$scratch/venv/bin/python" -m pip freeze --exclude realm | sed 's/+cpu//' | grep -v ' @ '
} > "$root/constraints.txt"
