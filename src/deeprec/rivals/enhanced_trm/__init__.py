"""LLM-enhanced TRM: a language model writes about items and goes on with short histories; the TRM learns from both."""
