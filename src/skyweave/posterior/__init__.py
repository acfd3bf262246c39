"""Posterior sampling: guidance methods, samplers, and their execution over long records."""
