"""Where outliers come from: one source a file, one protocol."""
