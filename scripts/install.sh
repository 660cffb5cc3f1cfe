#!/usr/bin/env bash
# Usage: scripts/install.sh [extra]
# Installs scalesweep and its dependencies into .venv, with the extra (dev, ray) if one is named; does nothing when that is
# already done. Environment: PYTHON the interpreter; SCALESWEEP_VENV a directory other than .venv; SCALESWEEP_TORCH the
# torch to install, as arguments of pip install ("torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128").
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${SCALESWEEP_VENV:-.venv} py=${SCALESWEEP_VENV:-.venv}/bin/python extra=${1:-}
torch=$(grep -o 'torch>=[^"]*' pyproject.toml)
cpu_index=https://download.pytorch.org/whl/cpu cuda_index=https://download.pytorch.org/whl
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { echo "install: $*" >&2; }
die() { say "$*"; exit 1; }
pip() { "$py" -m pip "$@"; }
suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }
build_of() { "$1" -c 'import sys; print(sys.version)' 2>/dev/null || true; }
has_gpu() { nvidia-smi -L 2>/dev/null | grep -q GPU; }
# The newest CUDA that the driver serves, such as 12.4.
driver_cuda() { nvidia-smi 2>/dev/null | grep -oE 'CUDA Version: *[0-9]+\.[0-9]+' | grep -oE '[0-9.]+$' || true; }
# Nothing where a kernel runs on a GPU, else the first line of what torch says.
torch_trouble() {
    "$py" -c 'import torch
try:
    torch.arange(8, device="cuda").sum().item()
except Exception as error:
    print((str(error).strip().splitlines() or [repr(error)])[0])' 2>/dev/null || echo "torch cannot be imported"
}

find_python() {
    local candidate candidates=("$py" python3.13 python3.12 python3.11 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if suits "$candidate"; then echo "$candidate"; return; fi
    done
    die "no Python 3.11, 3.12 or 3.13 among ${candidates[*]}: install one, or name it as PYTHON=/path/to/python."
}

# The first version on standard input that pyproject.toml allows for torch.
allowed() {
    "$py" -c 'import sys
from pip._vendor.packaging.requirements import Requirement
versions = Requirement(sys.argv[1]).specifier
print(next((v for v in sys.stdin.read().split() if v in versions), ""))' "$torch"
}

# pip's own choice for Linux brings gigabytes of CUDA packages. Without an NVIDIA GPU a CPU build is installed first, from
# where pip is configured to look or from PyTorch's CPU index; the installation of scalesweep then keeps it.
install_torch() {
    local args found index
    if [[ -n ${SCALESWEEP_TORCH:-} ]]; then
        say "torch: $SCALESWEEP_TORCH, as told by SCALESWEEP_TORCH"
        read -ra args <<<"$SCALESWEEP_TORCH"
        pip install -qq "${args[@]}"; return
    fi
    found=$({ "$py" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true; } | allowed)
    if [[ -n $found ]]; then say "torch: $found is there and stays"; return; fi
    if [[ $(uname -s) != Linux ]]; then say "torch: pip's own choice"; return; fi
    if has_gpu; then install_cuda_torch; return; fi
    for index in "" "$cpu_index"; do
        found=$({ pip index versions torch ${index:+--extra-index-url "$index" --timeout 10 --retries 1} 2>/dev/null |
            grep -o '[0-9][^ ,]*+cpu' || true; } | allowed)
        [[ -n $found ]] || continue
        say "torch: $found, the CPU build, because nvidia-smi finds no GPU"
        pip install -qq --no-deps "torch==$found" ${index:+--extra-index-url "$index"}; return
    done
    found=$(pip install -qq --dry-run --no-deps --no-index --report - "$torch" 2>/dev/null || true)
    if [[ $found == *'"requires_dist"'* ]] && ! grep -qE '"(nvidia|cuda|triton)' <<<"$found"; then
        say "torch: the wheel of pip's find-links, which needs no CUDA package"
        pip install -qq --no-deps --no-index "$torch"; return
    fi
    [[ -z ${CI:-} ]] || die "no CPU build of torch within reach ($cpu_index, pip's configuration); set SCALESWEEP_TORCH."
    say "torch: no CPU build within reach, so pip's own choice: it may bring CUDA packages of several GB"
}

# With a GPU: the newest build that serves its driver, tried until a kernel runs. A build of CUDA 12 runs on every driver of
# CUDA 12 (CUDA's minor version compatibility); pip's own choice is of CUDA 13.
install_cuda_torch() {
    local cuda builds=(own cu128 cu126) build
    cuda=$(driver_cuda)
    [[ -z $cuda || ${cuda%%.*} -ge 13 ]] || builds=(cu128 cu126)
    [[ -z $cuda || ${cuda%%.*} -ge 12 ]] || die "the driver serves CUDA $cuda, and torch needs 12 or newer: update the driver."
    for build in "${builds[@]}"; do
        "$py" -m pip uninstall -qqy torch 2>/dev/null || true
        if [[ $build == own ]]; then
            say "torch: pip's own choice"
            pip install -qq "$torch"
        else
            say "torch: the build $build; the driver serves CUDA ${cuda:-of a version that nvidia-smi does not tell}"
            pip install -qq "$torch" --index-url "$cuda_index/$build" || continue
        fi
        [[ -n $(torch_trouble) ]] || return 0
    done
}

python=$(find_python)
if [[ $(build_of "$py") != "$(build_of "$python")" ]]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python cannot make virtual environments: install its venv module (Debian and Ubuntu: apt install python3-venv)."
    say "new virtual environment $venv with $("$python" -V)"
    "$python" -m venv --clear "$venv"
fi
state=$("$py" -c 'import hashlib, sys
print(hashlib.sha256("\n".join([*sys.argv, sys.version, open("pyproject.toml").read()]).encode()).hexdigest())' \
    "$PWD" "${SCALESWEEP_TORCH:-}")
if ! grep -qs "^$state${extra:+ $extra\$}" "$venv/installed"; then
    install_torch
    say "scalesweep${extra:+[$extra]} and its dependencies into $venv (a minute or more)"
    pip install -qq -e ".${extra:+[$extra]}"
    echo "$state $extra" >>"$venv/installed"
    if has_gpu && trouble=$(torch_trouble) && [[ -n $trouble ]]; then
        say "warning: nvidia-smi lists a GPU, and torch cannot use it: $trouble"
        say "The driver serves CUDA $(driver_cuda). Remove torch and run this again, which takes a build that fits; or name one"
        say "as SCALESWEEP_TORCH. Until then a sweep asks for train.device=cpu."
    fi
fi
