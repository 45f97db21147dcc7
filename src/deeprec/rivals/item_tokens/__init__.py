"""A causal language model that reads a history, and writes the next item, as tokens of the catalogue.

Two vocabularies: one token a title, and semantic ids of several codes (TIGER, arXiv 2305.05065).
"""
