"""Algorithms found by reading files, configuration, flags and presets."""
