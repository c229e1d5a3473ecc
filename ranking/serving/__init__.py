"""Serving: retrieve, filter, score, order; one path for the command line, HTTP and the batch."""
