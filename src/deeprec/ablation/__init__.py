"""Ablations of a run: what each part of the method is worth."""
