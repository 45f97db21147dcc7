"""Runs on the way to others: a folder, or the Hugging Face hub, in its layout."""
