# SPDX-License-Identifier: Apache-2.0
# trtpose on an NVIDIA GPU with TensorRT, without OpenVINO: docs/install/docker.md. From the root of the repository:
#   docker build -f tools/docker/cuda.Dockerfile -t trtpose:cuda .                      the command; builds engines too
#   docker build -f tools/docker/cuda.Dockerfile --target serve -t trtpose:serve .      the server
#   ... --build-arg RUNTIME=rtx                                                   TensorRT for RTX, for GeForce and RTX cards
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS build
ARG RUNTIME=tensorrt
ARG EXTRAS=build,serve,video
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python3 -m venv /opt/trtpose \
 && TRTPOSE_GPU_ONLY=1 /opt/trtpose/bin/pip install --no-cache-dir "/src[$EXTRAS,$RUNTIME]"

# CUDA's runtime is linked into trtpose, and TensorRT is in the environment: nothing of CUDA is needed here.
FROM ubuntu:24.04 AS run
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/trtpose /opt/trtpose
# Whichever user it is run as, what it keeps for the next time has a place.
RUN useradd --uid 10001 --create-home trtpose \
 && install -d -m 1777 /var/cache/trtpose
ENV PATH=/opt/trtpose/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRTPOSE_CACHE=/var/cache/trtpose \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /data
# Python itself is the first process, so signals reach it.
ENTRYPOINT ["trtpose"]
CMD ["--help"]

FROM run AS serve
EXPOSE 8000
# The path needs no token.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["trtpose", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/data/model.engine"]

# What is built when no target is named.
FROM run
