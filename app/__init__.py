"""Neighborwatch's scoring service: a scikit-learn nearest-neighbour model behind FastAPI."""
