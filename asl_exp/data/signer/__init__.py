"""The embedded source: fingerspelling hands, drawn from a jointed 3-D hand.

Needs nothing but NumPy, SciPy and Pillow, downloads nothing, and gives the same bytes for the same
seed. A reader follows one image through drawing.draw.
"""

from .drawing import draw
from .letters import LETTERS
from .shot import Shot, shots

__all__ = ["LETTERS", "Shot", "draw", "shots"]
