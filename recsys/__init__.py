"""Recommendation engine built on ID embeddings."""

__version__ = "0.2.0"
