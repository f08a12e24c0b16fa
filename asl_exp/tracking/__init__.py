"""Where results are kept: the local record, which is always the truth."""
