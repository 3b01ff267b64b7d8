"""Figures read back: over any range, by any dimension, from whatever table has them."""
