"""Parts of ``outlier_quality.py``."""
