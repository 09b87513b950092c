"""The page: an image in a browser, its nuclei outlined, counted, measured and written in every format.

In the order in which they build on one another: limits and refusals (what the page takes, and how it says no), names,
reading (a file to a picture), finding (a picture to nuclei at every threshold), result (what the browser is given),
downloads, shelf (results kept), line (one run of the network at a time), upload, guard (who may ask), examples, routes,
scratch (temporary files) and serve.

Needs the extra `app`: starlette and uvicorn. The page itself is plain HTML, CSS and JavaScript in `static`.
"""
