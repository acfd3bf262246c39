"""Odd files; see `odd_cases`."""

from __future__ import annotations
