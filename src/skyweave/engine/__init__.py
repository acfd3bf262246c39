"""Independent units of work, carried out in this process or on the workers of a cluster."""
