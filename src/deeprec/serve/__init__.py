"""The HTTP service: recommendations as JSON and as a stream, users, feedback, and the page. Needs the extra `serve`."""
