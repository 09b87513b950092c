"""Data sets: reading, converting to COCO, modalities, groups and splits; registration with Detectron2 in `catalog`."""
