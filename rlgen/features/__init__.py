"""What images are compared by: features of a small classifier of their data set, or of a random network."""
