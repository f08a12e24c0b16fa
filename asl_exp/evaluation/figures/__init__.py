"""The figures of one kept model, drawn by matplotlib in one style."""
