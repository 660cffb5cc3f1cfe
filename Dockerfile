# docker build -t scalesweep .
# mkdir -p runs
# docker run --rm --user "$(id -u)" -v "$PWD/runs:/workspace/runs" scalesweep scalesweep run sweep=smoke
# With NVIDIA GPUs (driver 580 or newer): docker run --gpus all ...
# A smaller image for CPU only:
# docker build -t scalesweep --build-arg BASE=ubuntu:24.04 \
#     --build-arg TORCH="torch<3 --index-url https://download.pytorch.org/whl/cpu" .
ARG BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04
FROM $BASE

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The dependencies in layers of their own: a change of the code does not download them again.
ARG TORCH="torch>=2.6,<3"
RUN echo "$TORCH" | xargs pip install
COPY pyproject.toml /src/
RUN python -c 'import tomllib; print(*tomllib.load(open("/src/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > /src/requirements.txt \
    && pip install -r /src/requirements.txt
COPY . /src
RUN pip install --no-deps /src

# Sweeps go to /workspace/runs, prepared corpora and other caches below /cache; any user may write there.
ENV HOME=/cache
RUN mkdir -p /workspace/runs /cache && chmod 1777 /workspace /workspace/runs /cache
VOLUME ["/workspace/runs", "/cache"]
WORKDIR /workspace
USER 1000:1000
CMD ["scalesweep", "--help"]
