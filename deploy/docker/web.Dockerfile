# From the repository's root, with BuildKit:
#   docker build -f deploy/docker/web.Dockerfile -t realm/web .
# Without an index: --build-context wheelhouse=folder, or --build-arg WHEELHOUSE=an image of wheels
# where buildx is missing. For CUDA: --build-arg VARIANT=cuda.
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG WHEELHOUSE=scratch

FROM ${WHEELHOUSE} AS wheelhouse

FROM ${BASE_IMAGE} AS build
ARG VARIANT=cpu
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX_URL
ARG PIP_INDEX_URL
COPY deploy/docker/install.sh deploy/docker/sbom.py tools/locked.py /build/
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY realm/__init__.py /source/realm/
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh needs web "$VARIANT" "$TORCH"
COPY realm /source/realm
COPY services/__init__.py /source/services/
COPY services/web /source/services/web
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh code web

FROM scratch AS sbom
COPY --from=build /opt/realm/sbom.json /

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="realm web" \
      org.opencontainers.image.description="Offers the API over HTTP, and a page" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN install -d -o 10001 -g 10001 /var/lib/realm/store /var/cache/realm
COPY --from=build /opt/realm /opt/realm
ENV PATH=/opt/realm/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=realm \
    TMPDIR=/tmp \
    HF_HUB_OFFLINE=1 \
    TRANSFORMERS_OFFLINE=1
USER 10001:10001
EXPOSE 8051 9100
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "services.web"]
