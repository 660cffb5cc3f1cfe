"""Settings and the facts of a corpus to cells: shapes, counts, keys, prices. Pure; nothing is read or written."""
