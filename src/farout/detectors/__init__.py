"""Models that use outliers, and the flow itself as a detector."""
