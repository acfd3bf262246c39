"""Pairs of coarse and fine days: records, calendars, splits, samples."""
