"""Where images come from: each source lists rows of path, label, source and group."""
