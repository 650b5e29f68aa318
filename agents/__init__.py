"""Agents that act in Gymnasium environments: one file an algorithm."""
