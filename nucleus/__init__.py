"""Finds every cell nucleus in a microscope image, as one mask per nucleus: a Detectron2 project.

Importing this package imports nothing else, so that `nucleus doctor` can run where the rest cannot.
"""

__version__ = "0.1.0.dev0"
