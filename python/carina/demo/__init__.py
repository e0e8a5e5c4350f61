"""The main job from end to end: ``carina demo``."""

from carina.demo.synthetic import run_phantom

__all__ = ["run_phantom"]
