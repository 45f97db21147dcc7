"""Wishes: what a user says, in their own words, that they want now."""
