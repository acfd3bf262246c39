"""Fine days beyond the overlap: areas from patches, predictions and rollouts."""
