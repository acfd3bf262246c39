"""Training of downscalers: encoder first, then the downscaler on it."""
