"""The network: a backbone of timm's or ours, pooling, and a head."""
