"""A deterministic look-alike of BBBC038 with exact truth: five modalities, any number of images.

In the order in which they build on one another: textures, shapes, placement (the truth), three renderers, scenes (what
each modality looks like), fields (what is made when), layout (one image's files) and writer (processes and restarts).
"""

from nucleus.data.synthetic.fields import Tile, make_field, modality_of_image
from nucleus.data.synthetic.layout import image_id
from nucleus.data.synthetic.writer import Summary, write_synthetic

__all__ = ["Summary", "Tile", "image_id", "make_field", "modality_of_image", "write_synthetic"]
