"""Environments: found by id, made, and stepped as one stream of true transitions."""
