"""Covariances of fields: stationary in space and time, from lags, at each noise level; they know no priors."""
