"""TRM-enhanced LLM: one retrieved list, one prompt, one ranking, learned by supervision and by RL."""
