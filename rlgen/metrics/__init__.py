"""Metrics of agents and of generative models."""
