# docker build -t scalesweep .
# docker run --rm -v "$PWD/runs:/work/runs" scalesweep scalesweep run sweep=smoke               (CPU)
# docker run --rm --gpus all -v "$PWD/runs:/work/runs" scalesweep scalesweep run sweep=smoke    (NVIDIA GPU, driver 580 or newer)
# An image a few GB smaller, for CPU only:
# docker build -t scalesweep --build-arg TORCH="torch<3 --index-url https://download.pytorch.org/whl/cpu" .
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
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

# Sweeps go to /work/runs, corpora and other caches below /cache; both writable for `docker run --user "$(id -u)"` as well.
ENV HOME=/cache
RUN mkdir -p /work/runs /cache && chmod 1777 /work /work/runs /cache
VOLUME ["/work/runs", "/cache"]
WORKDIR /work
USER ubuntu
CMD ["scalesweep", "--help"]
