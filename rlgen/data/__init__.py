"""Images: known sets, readers of formats, splits."""
