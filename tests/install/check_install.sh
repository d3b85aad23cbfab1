#!/usr/bin/env bash
# Installs into a temporary folder, moves it, and runs the installed program from elsewhere.
# Usage: check_install.sh CMAKE BUILD_DIR
set -euo pipefail
cmake=$1
build_dir=$2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cmake" --install "$build_dir" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
for folder in hardware_profiles experiments; do
  [[ $(find "$work/moved/share/orrery/$folder" -name '*.json' -print -quit) ]] ||
    { echo "share/orrery/$folder has no data" >&2; exit 1; }
done

cd /
"$work/moved/bin/orrery" --version
