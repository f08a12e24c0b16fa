"""The local record: the MLflow store, what is written there, and the model folder it serves."""
