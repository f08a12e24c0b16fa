"""Uses of a kept model: predict letters, and the model folder that MLflow loads and serves."""
