"""A copy of local runs on an MLflow server or DagsHub: ledger, delivery, sync."""
