"""A page in the browser to play with a run: outliers as the strength moves, archetypes, rows of your own, a latent map.

``page``, ``widgets`` and ``serving`` need Panel (``pip install "farout[explore]"``); all that they show is made by the
other modules, which don't.
"""
