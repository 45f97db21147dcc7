"""A stage of RL for software that trains on many GPUs: what is written for it, and what comes back."""
