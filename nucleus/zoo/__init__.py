"""Models that have a name: what is known (`manifest`), verified files (`files`), making one (`ship`)."""
