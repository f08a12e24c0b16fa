"""asl_exp: a research harness for American Sign Language letter recognition."""

__version__ = "0.1.0"
