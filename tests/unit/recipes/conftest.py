"""The small models and systems of training's tests."""

from tests.unit.training.conftest import base, model, system

__all__ = ["base", "model", "system"]
