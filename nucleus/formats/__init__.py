"""File formats, one a module; each reads and writes."""
