"""Model parts, one registered class a file. Importing this package registers them with Detectron2."""

from nucleus.modeling import timm_backbone as timm_backbone
