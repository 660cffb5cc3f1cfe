# syntax=docker/dockerfile:1
# docker build -t scalesweep .                             for NVIDIA GPUs (driver 580 or newer) and for CPUs
# docker build -t scalesweep --build-arg DEVICE=cpu .      for CPUs alone, without the packages of CUDA
# docs/docker.md has how it is run.
ARG DEVICE=cuda
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS on-cuda
ENV TORCH_INDEX=""
FROM ubuntu:24.04 AS on-cpu
ENV TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu"

# hadolint ignore=DL3006
FROM on-${DEVICE}
LABEL org.opencontainers.image.title="scalesweep" \
    org.opencontainers.image.description="Measure, fit and report empirical scaling laws of small transformers" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0"

# No versions of these: Ubuntu's archive drops a version when the next one comes. gcc compiles what torch.compile writes.
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev python3 python3-dev python3-venv
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The dependencies in layers of their own: a change of the code does not install them again. torch is the one that the tests run on.
ARG TORCH=2.13.0
RUN --mount=type=cache,target=/root/.cache/pip \
    printf '%s\n' "$TORCH_INDEX" "torch==$TORCH" > /tmp/torch.txt && pip install -r /tmp/torch.txt
COPY pyproject.toml /src/
RUN python -c 'import tomllib; print(*tomllib.load(open("/src/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > /src/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r /src/requirements.txt
COPY . /src
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps /src

# Sweeps go to /workspace/runs, prepared corpora and other caches below /cache; any user may write there.
ENV HOME=/cache
RUN mkdir -p /workspace/runs /cache && chmod 1777 /workspace /workspace/runs /cache
VOLUME ["/workspace/runs", "/cache"]
WORKDIR /workspace
USER 1000:1000
ENTRYPOINT ["scalesweep"]
CMD ["--help"]
