"""Proof from a run's own files that nothing was learned from what it is measured on."""
