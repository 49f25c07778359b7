"""Qdrant Edge (the Qdrant engine as a library) behind Qdrant's own gRPC protocol.

`python -m services.standalone.qdrant_edge --folder F --port 6334` serves one machine; an ordinary
`QdrantClient(host, grpc_port=6334, prefer_grpc=True, check_compatibility=False)` works unchanged.
There is no REST port, so the client's version check at construction (REST) must be switched off.

A front process speaks gRPC and owns `catalogue.json`; a child process owns each collection's
folder for its life. The front passes the bytes of point requests on as they are: only the child
translates, so the engine never holds the front's interpreter lock.
"""
