"""From labels to labels: observations with coordinates in, labelled ensembles out, planned and resumable."""
