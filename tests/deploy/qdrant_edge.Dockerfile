# Stands for Qdrant's own image where no registry can be reached: the same engine, in our server.
ARG BASE_IMAGE
ARG WHEELHOUSE

FROM ${WHEELHOUSE} AS wheelhouse

FROM ${BASE_IMAGE}
COPY deploy/docker/install.sh deploy/docker/sbom.py tools/locked.py /build/
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY realm/__init__.py /source/realm/
# The server shares the indexer's libraries; the engine comes on top.
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh needs indexer cpu none && \
    python3 /build/locked.py /source/constraints.txt > /tmp/versions.txt && \
    /opt/realm/bin/python -m pip install --no-index --find-links /wheelhouse \
      --constraint /tmp/versions.txt qdrant-edge-py
COPY realm /source/realm
COPY services /source/services
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    sh /build/install.sh code indexer
COPY --chmod=755 tests/deploy/qdrant_edge.py /qdrant/entrypoint.sh
RUN install -d -o 1000 -g 1000 /qdrant/storage
ENV PATH=/opt/realm/bin:/usr/bin:/bin
WORKDIR /qdrant
ENTRYPOINT ["./entrypoint.sh"]
