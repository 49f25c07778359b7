"""A real Kubernetes of two nodes on one machine, and realm's overlay tried on it.

`make test-cluster` runs `python -m tools.cluster test`; `up` holds such a cluster until Ctrl-C.
"""
