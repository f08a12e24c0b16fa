"""A run on disk: its folder, result.json, kept checkpoint, saved configuration and lock."""
