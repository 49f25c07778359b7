# Gateway, embedder and trainer in one, where the index offers PyTorch for CUDA alone: three images
# of several GB each would fill a disk. What no processor loads of it is left out.
ARG BASE_IMAGE
ARG WHEELHOUSE

FROM ${WHEELHOUSE} AS wheelhouse

FROM ${BASE_IMAGE}
ARG TORCH=torch==2.13.0
COPY deploy/docker/install.sh deploy/docker/sbom.py tools/locked.py /build/
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY realm/__init__.py /source/realm/
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh needs gateway,embedder,trainer cuda "$TORCH" && \
    cd /opt/realm/lib/python3*/site-packages && rm -rf triton nvidia/cudnn/lib/libcudnn_*
COPY realm /source/realm
COPY services /source/services
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh code gateway,embedder,trainer
RUN install -d -o 10001 -g 10001 /var/lib/realm/store /var/cache/realm
ENV PATH=/opt/realm/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=realm \
    TMPDIR=/tmp \
    HF_HUB_OFFLINE=1 \
    TRANSFORMERS_OFFLINE=1
USER 10001:10001
STOPSIGNAL SIGTERM
