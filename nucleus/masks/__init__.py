"""Masks of nuclei: label images, run lengths, contours, overlaps. NumPy only."""
