"""Many users at once: in shards, which any process may answer, resumable, on one machine or a Ray cluster."""
