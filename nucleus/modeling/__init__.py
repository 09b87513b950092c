"""Model parts, one registered class a file. Importing this package registers them with Detectron2."""

from nucleus.modeling import batched_roi_heads as batched_roi_heads
from nucleus.modeling import batched_rpn as batched_rpn
from nucleus.modeling import folded_resnet as folded_resnet
from nucleus.modeling import matrix_mask_head as matrix_mask_head
from nucleus.modeling import nucleus_rcnn as nucleus_rcnn
from nucleus.modeling import timm_backbone as timm_backbone
