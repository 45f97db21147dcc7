"""Speed beside peers: the rows of `deeprec bench`."""
