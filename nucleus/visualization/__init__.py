"""Pictures: uint8 RGB arrays (H, W, 3) of images, nuclei, errors and statistics."""
