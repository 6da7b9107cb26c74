"""Neighborwatch's scoring service: a scikit-learn nearest-neighbour model behind FastAPI."""

__version__ = "0.1.0"
