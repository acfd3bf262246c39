"""Transfer downscaling: a long fine record from a long coarse one and a short overlap."""
