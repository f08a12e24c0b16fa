"""From sources to batches: manifest, split, stored pixels, augmentation.

Only loader.py and the augmentation import torch, so that bad data is refused before it loads.
"""
