"""Normalizing flows: data to latent and back, exactly."""
