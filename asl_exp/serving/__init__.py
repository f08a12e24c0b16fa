"""Uses of a kept model: predict letters."""
