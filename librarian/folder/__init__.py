"""Where libraries are kept: a local folder, or one on a filesystem that pyarrow knows."""
