# SPDX-License-Identifier: Apache-2.0
# trtpose on the CPU: docs/install/docker.md. From the root of the repository:
#   docker build -f tools/docker/cpu.Dockerfile -t trtpose:cpu .                      the command
#   docker build -f tools/docker/cpu.Dockerfile --target serve -t trtpose:serve .     the server
FROM python:3.13-slim-bookworm AS build
ARG EXTRAS=serve,video
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python -m venv /opt/trtpose \
 && /opt/trtpose/bin/pip install --no-cache-dir "/src[$EXTRAS]"

FROM python:3.13-slim-bookworm AS run
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
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["trtpose", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/data/model.onnx"]

# What is built when no target is named.
FROM run
