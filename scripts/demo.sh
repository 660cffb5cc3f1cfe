#!/usr/bin/env bash
# Usage: scripts/demo.sh [override ...]
# Installs into .venv what is missing there, then runs a sweep: `scalesweep run` with the given overrides.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/scripts/install.sh"
cd "$root"
echo "demo: scalesweep run $*"
exec "${SCALESWEEP_VENV:-.venv}/bin/scalesweep" run "$@"
