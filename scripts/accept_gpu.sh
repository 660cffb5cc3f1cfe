#!/usr/bin/env bash
# Usage: scripts/accept_gpu.sh OUT [--device cpu]
# The first ten minutes on a machine with a GPU: whether its numbers can be trusted, whether a sweep survives, and how fast it is,
# in the order of what would hurt most. Each line says what it decides; docs/gpu_acceptance.md explains them. Writes OUT/accept.log,
# accept.json and sweeps.json. Exit code 0: no fault; 1: a fault; 2: there is no GPU. --device cpu rehearses with tiny models.
set -uo pipefail
cd "$(dirname "$0")/.."
if [[ $# -lt 1 || $1 == -* ]]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
out=$1
device=cuda
[[ ${2:-} == --device ]] && device=${3:-cuda}
if [[ -n $(ls -A "$out" 2>/dev/null) ]]; then
    echo "accept_gpu: $out holds files already; give a directory of its own." >&2
    exit 2
fi
python=${SCALESWEEP_PYTHON:-python3}
[[ -n ${SCALESWEEP_PYTHON:-} || ! -x .venv/bin/python ]] || python=.venv/bin/python
if [[ $device != cpu ]] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "accept_gpu: PyTorch sees no GPU here, so there is nothing to accept; $0 $out --device cpu rehearses." >&2
    exit 2
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
[[ $device == cpu ]] || nvidia-smi 2>&1 | tee "$out/accept.log"
fault=0
first=270 whole=585
[[ $device == cpu ]] && first=900 whole=2400
"$python" scripts/accept/gpu.py --device "$device" --seconds "$first" --out "$out/accept.json" 2>&1 | tee -a "$out/accept.log" || fault=1
"$python" scripts/accept/sweeps.py "$out" --device "$device" --seconds $((whole - SECONDS)) 2>&1 | tee -a "$out/accept.log" || fault=1
said="no fault"
[[ $fault == 0 ]] || said="a FAULT, named above"
echo "accept_gpu: $said, in $SECONDS s; the log is $out/accept.log" | tee -a "$out/accept.log"
exit "$fault"
