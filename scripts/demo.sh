#!/usr/bin/env bash
# Usage: scripts/demo.sh [override ...]
# Installs into .venv what is missing there, then runs `scalesweep run` with the given overrides.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh
echo "demo: scalesweep run $*"
exec "${SCALESWEEP_VENV:-.venv}/bin/scalesweep" run "$@"
