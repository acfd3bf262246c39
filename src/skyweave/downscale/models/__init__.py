"""Downscalers: each learns the fine day from coarse days and its past."""
