"""One experiment: phases in order, each its own fit, recorded and scored.

Read run.py, then phase.py.
"""
