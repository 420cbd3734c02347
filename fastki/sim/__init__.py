"""Simulators: demonstrations recorded in one, and trained policies that act in it."""
