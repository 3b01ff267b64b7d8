"""Sketches of numbers: what a table keeps of values of which a figure is estimated."""
