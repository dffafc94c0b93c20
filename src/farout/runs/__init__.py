"""Whole journeys, from data to runs and figures: what the command line calls, without any printing."""
