"""The report of an evaluation: `report.html`, one file that needs nothing else, and `report.md`, the same as text.

`write_report` is all that others call. Inside, `facts` holds what is said, `curves` and `pictures` what is drawn;
`page` and `markdown` lay it out.
"""

from nucleus.evaluation.report.pictures import LabelPair
from nucleus.evaluation.report.write import write_report

__all__ = ["LabelPair", "write_report"]
