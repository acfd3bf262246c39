"""What compiled libraries read from GRIB and BUFR, in a process of its own: a damaged file may end it, never a run."""
