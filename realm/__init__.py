"""realm: retrieval whose index keeps up with a model that never stops learning."""

__version__ = "0.1.0"
