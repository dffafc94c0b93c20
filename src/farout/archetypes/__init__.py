"""Archetypal analysis: data as mixtures of a few extremes, linear on data or deep on a flow."""
