#!/usr/bin/env bash
# Usage: scripts/test.sh [argument of pytest ...]
# Installs into .venv what is missing there, then checks style, types and the direction of imports, and runs the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
bin=$(cd "${SCALESWEEP_VENV:-.venv}/bin" && pwd)
export PATH="$bin:$PATH"
step() { echo "test: $*" && "$@"; }
step ruff check
step ruff format --check
step mypy
step lint-imports
step pytest "$@"
