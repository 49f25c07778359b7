"""Retrievers for frameworks that people already use: one module each, imported by its own name.

Each needs its extra: `realm[langchain]`, `realm[llamaindex]`, `realm[haystack]`. They are thin: a
question becomes one search of a gateway, and passages become what the framework calls documents.
"""
