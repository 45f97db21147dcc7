"""A service under a mix of requests for a long time, with its database killed and its disk filled meanwhile."""
