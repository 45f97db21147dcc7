"""Rivals whose vocabulary is the catalogue: one token a title, or semantic ids of several codes.

The latter are TIGER's (arXiv 2305.05065). Model, search and training are those of `next_item`.
"""
