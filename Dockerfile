# The service as an image. Two targets:
#
#   docker build --target cpu --tag signalserve:cpu .     ONNX Runtime and torch on the CPU
#   docker build --target gpu --tag signalserve:gpu .     the same on CUDA 13: a driver of at least 580 on the host, and
#                                                         the NVIDIA container toolkit; CUDA itself comes with torch
#
# On x86-64 Linux the torch that pip finds by itself is the CUDA build, gigabytes that the cpu image does not use.
# PIP_ARGS is handed to pip: name the package index of torch's CPU builds (the one that PyTorch's install page shows for
# "CPU") and pip prefers them, for they sort above the plain version:
#
#   docker build --target cpu --build-arg PIP_ARGS="--extra-index-url ADDRESS" --tag signalserve:cpu .
#
# Run one on its own (docker-compose.yml says the same and more):
#
#   docker run --init --read-only --tmpfs /tmp:exec --cap-drop ALL --security-opt no-new-privileges \
#     --volume journal:/var/lib/signalserve --publish 127.0.0.1:8080:8080 --publish 127.0.0.1:8083:8083 signalserve:cpu

# Another patch release, a digest or a mirror can be named here.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The image brings the standard library without bytecode and the service may not write any: compiled once here, instead
# of in each of its six Python processes at every start. unchecked-hash: valid whatever a copy does to a file's times.
# Not every file is for this Python (tests of syntax errors), so a failure is not one of ours.
RUN python -m compileall -qq -j 0 --invalidation-mode unchecked-hash \
      "$(python -c 'import os; print(os.path.dirname(os.__file__))')" || true


# --- what the service needs, in /opt/venv; only this folder goes on, neither PIP_ARGS nor pip's cache -----------------
FROM base AS builder
RUN python -m venv /opt/venv
WORKDIR /build

FROM builder AS libraries-cpu
ARG PIP_ARGS=""
COPY requirements.txt ./
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-compile ${PIP_ARGS} -r requirements.txt \
    && { python -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/venv/lib || true; }

FROM builder AS libraries-gpu
ARG PIP_ARGS=""
COPY requirements-gpu.txt ./
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-compile ${PIP_ARGS} -r requirements-gpu.txt \
    && { python -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/venv/lib || true; }


# --- the project itself: a wheel, and the folders as the image has them ------------------------------------------------
FROM builder AS project
ARG PIP_ARGS=""
COPY requirements.txt ./
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    grep -E '^(setuptools|wheel)==' requirements.txt > build.txt \
    && pip install --no-compile ${PIP_ARGS} -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY signalserve ./signalserve
COPY handlers ./handlers
COPY export ./export
COPY launch ./launch
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels .
COPY config.properties /image/srv/signalserve/
COPY model_store/bundles /image/srv/signalserve/model_store/bundles
COPY serving.yaml /image/config/
# whatever the umask of the checkout: the service's user reads everything and writes nothing
RUN chmod -R u=rwX,go=rX /image


# --- what both images are, beside their libraries ---------------------------------------------------------------------
FROM base AS runtime
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="signalserve" \
      org.opencontainers.image.description="Calibrated trading-signal predictions over TorchServe" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Two places it may write to: its home, where CUDA keeps the kernels it compiles, and the journal's, whose owner a new
# volume takes over from here. The variables are also how `signalserve journal` and `toggle` find it and serving.yaml here.
RUN groupadd --gid 10001 signalserve \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin signalserve \
    && install --directory --owner 10001 --group 10001 /var/lib/signalserve
ENV SIGNALSERVE_JOURNAL=/var/lib/signalserve/journal \
    SIGNALSERVE_SETTINGS=/config/serving.yaml
WORKDIR /srv/signalserve
# predictions, TorchServe's metrics, readiness and this project's metrics; management stays on the container's loopback
EXPOSE 8080 8082 8083
STOPSIGNAL SIGTERM
# http.client knows nothing of proxies, which an environment may name
HEALTHCHECK --interval=5s --timeout=4s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8083, timeout=3); c.request('GET', '/ready'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["signalserve"]


FROM runtime AS cpu
COPY --from=libraries-cpu /opt/venv /opt/venv
COPY --from=project /wheels /wheels
COPY --from=project /image /
# The archives are made here, of this image's own versions: at run time the model store is read-only, and `serve` finds
# them up to date. Pinning another bundle version in serving.yaml therefore needs a new image.
RUN pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
    && signalserve pack --settings /config/serving.yaml
USER 10001:10001
CMD ["serve", "--host", "0.0.0.0", "--settings", "/config/serving.yaml", "--device", "cpu"]


FROM runtime AS gpu
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=libraries-gpu /opt/venv /opt/venv
COPY --from=project /wheels /wheels
COPY --from=project /image /
RUN pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
    && signalserve pack --settings /config/serving.yaml
USER 10001:10001
# not auto: a container without its GPU ends, instead of answering from the CPU
CMD ["serve", "--host", "0.0.0.0", "--settings", "/config/serving.yaml", "--device", "cuda:0"]
