"""Diffusion: noise, networks that remove it, their losses and schedules; it knows no observation."""
