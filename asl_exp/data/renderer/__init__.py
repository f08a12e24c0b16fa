"""The embedded source: fingerspelling hands, drawn from a jointed 3-D hand.

Needs nothing but NumPy, SciPy and Pillow, downloads nothing, and gives the same bytes for the same
seed. A reader follows one image through drawing.draw.
"""

from asl_exp.data.renderer.drawing import draw
from asl_exp.data.renderer.identity import Shot, shots
from asl_exp.data.renderer.letters import LETTERS

__all__ = ["LETTERS", "Shot", "draw", "shots"]
