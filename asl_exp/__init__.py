"""asl_exp: a research harness for American Sign Language letter recognition."""

import os

__version__ = "0.1.0"

# Read by OpenMP when torch is imported. Its threads spin while they wait, which on cores shared
# with anything else cost 4 to 7 times the images a second (measured on two cores at load 4).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
