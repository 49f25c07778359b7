"""`realm.search.vector_index` in Qdrant, by gRPC only: a server or Qdrant Edge behind its own."""
