"""From sources to batches: manifest, split, stored pixels, augmentation.

Only batches.py and augmentation.py import torch, so that bad data is refused before it loads.
"""
