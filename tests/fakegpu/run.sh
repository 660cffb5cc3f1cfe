#!/usr/bin/env bash
# Usage: run.sh PYTHON ARGUMENT ...
# Runs PYTHON, an interpreter with torch of CUDA 13 (README.md), with these arguments on the stand-in. It is built for the call
# into a temporary folder, which is also the home and holds all caches, so that nothing of it is taken for that of a GPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [[ $# -lt 1 ]]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
packages=$("$1" -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("torch").origin).parents[1])')
bash "$here/build.sh" "$packages" "$out"
preload=$out/libcudart.so.13:$out/libcublasLt.so.13:$out/libcublas.so.13:$out/libcuda.so.1
env -u CUDA_VISIBLE_DEVICES PATH="$here/bin:$PATH" PYTHONPATH="$here/site:$here:$here/../../src" HOME="$out/home" \
    SCALESWEEP_CACHE="$out/cache" TORCHINDUCTOR_CACHE_DIR="$out/inductor" TRITON_CACHE_DIR="$out/triton" \
    TRITON_LIBCUDA_PATH="$out" LD_PRELOAD="$preload" "$@"
