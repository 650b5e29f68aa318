"""Models of images: one file an algorithm."""
