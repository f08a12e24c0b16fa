"""The typed configuration, its checks, and the names and errors that every room shares.

Nothing here imports torch: a faulty configuration must be answered in well under two seconds.
"""
