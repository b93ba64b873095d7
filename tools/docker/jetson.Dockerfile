# SPDX-License-Identifier: Apache-2.0
# trtpose on a Jetson Orin with JetPack 6, whose image has CUDA, TensorRT and its Python package: docs/install/jetson.md.
# Built on the Jetson itself, from the root of the repository:
#   docker build -f tools/docker/jetson.Dockerfile -t trtpose:jetson .                  the command; builds engines too
#   docker build -f tools/docker/jetson.Dockerfile --target serve -t trtpose:serve .    the server
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS build
# Of Orin; 72 is Xavier, which wants an image of JetPack 5 and a newer Python than that has.
ARG ARCHITECTURES=87
ARG EXTRAS=build,serve,video
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
ENV PATH=/usr/local/cuda/bin:$PATH
# The environment sees JetPack's TensorRT.
RUN python3 -m venv --system-site-packages /opt/trtpose \
 && CMAKE_ARGS="-DTRTPOSE_CUDA_ARCHITECTURES=$ARCHITECTURES" TRTPOSE_GPU_ONLY=1 \
    /opt/trtpose/bin/pip install --no-cache-dir "/src[$EXTRAS]"

FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS run
COPY --from=build /opt/trtpose /opt/trtpose
# Whichever user it is run as, what it keeps for the next time has a place.
RUN useradd --uid 10001 --create-home trtpose \
 && install -d -m 1777 /var/cache/trtpose
ENV PATH=/opt/trtpose/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRTPOSE_CACHE=/var/cache/trtpose
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
