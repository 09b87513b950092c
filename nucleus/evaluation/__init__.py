"""Scores of predicted nuclei against true ones. Only `evaluator` imports torch or Detectron2.

`image_scores.score_image` scores one image from one overlap table, `summary.summarize` brings images together, and
`table` prints and writes what came out. `sources` opens files of others, `score_files` scores them in several
processes, and `evaluate_files` does all of it, with intervals (`bootstrap`) and a `report`.
"""
