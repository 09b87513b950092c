"""From images to nuclei: prediction, tiles, stitching."""
