"""Where results are kept: the local record, and the model folder that MLflow loads and serves."""
