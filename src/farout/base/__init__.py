"""What every estimator stands on: checks, settings, training, run folders, nearest neighbours."""
