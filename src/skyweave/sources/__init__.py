"""What innovations say of the sources: their errors, their biases, and whether the prior knows the scene."""
