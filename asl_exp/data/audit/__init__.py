"""The audit: does a split leak, and what do the images look like; as numbers, JSON and a page."""
