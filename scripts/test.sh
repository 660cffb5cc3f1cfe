#!/usr/bin/env bash
# Usage: scripts/test.sh [--slow] [argument of pytest ...]
# Installs into .venv what is missing there, then checks style, types and the direction of imports, and runs the tests, in one
# process a core. --slow adds the tests that take long or need Chromium, Slurm or Ray. Ends with what took longest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh dev
bin=$(cd "${SCALESWEEP_VENV:-.venv}/bin" && pwd)
export PATH="$bin:$PATH"
step() { echo "test: $*, after $SECONDS s" && "$@"; }
step ruff check
step ruff format --check
step mypy
step lint-imports
tests=(-n "$(nproc)" --dist loadfile --no-loadscope-reorder --durations=10)  # in the order of tests/conftest.py
if [[ ${1:-} == --slow ]]; then
    tests+=(-m "not gpu and not network")
    shift
fi
step pytest "${tests[@]}" "$@"
