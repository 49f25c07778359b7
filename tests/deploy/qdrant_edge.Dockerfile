# Stands for Qdrant's own image where no registry can be reached: the same engine, in our server.
ARG BASE_IMAGE
ARG WHEELHOUSE=scratch

FROM ${WHEELHOUSE} AS wheelhouse

FROM ${BASE_IMAGE}
COPY deploy/docker/install.sh deploy/docker/sbom.py /build/
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY realm/__init__.py /source/realm/
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh needs standalone cpu torch==2.13.0
COPY realm /source/realm
COPY services /source/services
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh code standalone
ENV PATH=/opt/realm/bin:/usr/bin:/bin
ENTRYPOINT ["python", "-m", "services.standalone.qdrant_edge"]
