#!/usr/bin/env bash
# Usage: build.sh PACKAGES OUT
# Builds the stand-in for CUDA's runtime, cuBLAS and driver into OUT, from the sources beside this file. PACKAGES is a
# site-packages with torch of CUDA 13, whose wheels bring the headers, nvidia-cuda-crt and nvidia-cuda-cccl. Needs g++.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
wheels=$(cd "$1" && pwd)/nvidia/cu13
mkdir -p "$2"
cd "$2"

# Every function that the original has and the stand-in lacks becomes one that returns 0.
functions() { nm "$@" | awk '$2 == "T" {print $3}' | sed 's/@.*//' | sort -u; }
build() { # soname source needs-version [arguments of the linker]
    local soname=$1 source=$2 versioned=$3 all
    shift 3
    g++ -O1 -fPIC -std=c++17 -I"$wheels/include" -c "$here/$source.cpp" -o "$source.o"
    if [[ -f $wheels/lib/$soname ]]; then
        all=$(functions -D --defined-only "$wheels/lib/$soname")
    else # the driver comes with no wheel: its functions are those of its header
        all=$(grep -oE '\bcu[A-Z][A-Za-z0-9_]*\(' "$wheels/include/cuda.h" | tr -d '(' | grep -v '^cuuint' | sort -u)
    fi
    comm -23 <(echo "$all") <(functions --defined-only "$source.o") |
        awk '{print ".globl " $1 "\n.type " $1 ",@function\n" $1 ":\n xor %eax,%eax\n ret"}' >"$source.stub.s"
    echo '.section .note.GNU-stack,"",@progbits' >>"$source.stub.s"
    gcc -c "$source.stub.s" -o "$source.stub.o"
    if $versioned; then
        echo "$soname { global: *; };" >"$source.map"
        set -- "$@" "-Wl,--version-script=$source.map"
    fi
    g++ -shared -o "$soname" "$source.o" "$source.stub.o" "-Wl,-soname,$soname" "$@" -lpthread -ldl
}
build libcudart.so.13 runtime true
build libcublasLt.so.13 blaslt true '-Wl,-rpath,$ORIGIN' ./libcudart.so.13
build libcublas.so.13 blas true '-Wl,-rpath,$ORIGIN' ./libcudart.so.13
build libcuda.so.1 driver false '-Wl,-rpath,$ORIGIN' ./libcudart.so.13
