"""Recommendation engine built on ID embeddings."""

__version__ = "0.1.0"
