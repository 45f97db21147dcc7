"""A causal language model that reads a history, and writes the next item, as tokens of the catalogue.

The reading before the warm start trains the policy by it, and the rivals in `rivals/item_tokens` are made of it.
"""
