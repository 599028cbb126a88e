# syntax=docker/dockerfile:1

# docker build --target cpu  -t trunkline:cpu  .
# docker build --target cuda -t trunkline:cuda .
#
# Each target is built from the same two steps: an environment with the pinned packages, and the
# checkout on top of it. The environment's layer changes only with pyproject.toml and requirements.lock.

# ---- the CPU environment ----------------------------------------------------
FROM python:3.12-slim-bookworm AS cpu-environment
# The public build of torch is for CUDA. An index that has a CPU build of the pinned version, given
# here, makes the image several gigabytes smaller; everything works without one.
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /opt/trunkline
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY trunkline/version.py trunkline/version.py
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --constraint requirements.lock --editable ".[server]"

# ---- the CUDA environment ---------------------------------------------------
FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS cuda-python
# The distribution's security updates are wanted, so its versions are not pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM cuda-python AS cuda-environment
WORKDIR /opt/trunkline
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY trunkline/version.py trunkline/version.py
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --constraint requirements.lock --editable ".[server]"

# ---- the images -------------------------------------------------------------
FROM cuda-python AS cuda
COPY --from=cuda-environment /opt/venv /opt/venv
WORKDIR /opt/trunkline
COPY . .
RUN useradd --system --uid 10001 --no-create-home trunkline \
    && install --directory --owner=trunkline /data
# A container must listen beyond its own loopback to be reached at all, so calls need a key: the first
# start makes an operator's, in /data/store/operator.key.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BENTOML_HOME=/data/bentoml \
    TRUNKLINE_HOST=0.0.0.0 \
    TRUNKLINE_DATA_DIR=/data/store \
    TRUNKLINE_CACHE_DIR=/data/cache \
    HF_HOME=/data/huggingface \
    TORCH_HOME=/data/torch \
    TRUNKLINE_LOG_FORMAT=json
USER 10001
VOLUME /data
EXPOSE 3000 50051
# The first start exports the backbones before it is ready.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "service.healthcheck"]
ENTRYPOINT ["trunkline", "serve"]

# Last, so that it is what a build without --target makes.
FROM python:3.12-slim-bookworm AS cpu
COPY --from=cpu-environment /opt/venv /opt/venv
WORKDIR /opt/trunkline
COPY . .
RUN useradd --system --uid 10001 --no-create-home trunkline \
    && install --directory --owner=trunkline /data
# As above: reachable beyond loopback, so calls need a key.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BENTOML_HOME=/data/bentoml \
    TRUNKLINE_HOST=0.0.0.0 \
    TRUNKLINE_DATA_DIR=/data/store \
    TRUNKLINE_CACHE_DIR=/data/cache \
    HF_HOME=/data/huggingface \
    TORCH_HOME=/data/torch \
    TRUNKLINE_LOG_FORMAT=json
USER 10001
VOLUME /data
EXPOSE 3000 50051
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "service.healthcheck"]
ENTRYPOINT ["trunkline", "serve"]
