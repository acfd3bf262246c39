"""A training run, whatever is learnt: its loop, its checkpoints, its processes."""
