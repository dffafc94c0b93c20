"""Pictures: one function each, which draws into the axes it is given, in the style that is in force.

Every function takes ``ax=None``: axes to draw in, of a new figure when omitted (made by pyplot, as scikit-learn does,
so that a notebook shows it). A picture of several panels takes an array of as many axes. Colours, dashes, fonts and the
grid follow matplotlib's settings; ``matplotlib.rc_context(fo.plots.STYLE)`` gives the look of farout's own pages. All
return a `Display`: ``figure_``, ``ax_``, and ``artists_`` by name. Where a picture shows what a fitted model does, the
model can be given (``model=`` or ``flow=``), with rows in place of scores, latents or weights.
"""

from farout.plots.archetype_pictures import archetypes, counts, features, plane
from farout.plots.classes import confusion, distances, reliability
from farout.plots.column_shares import shares
from farout.plots.comparison import compared
from farout.plots.curves import errors, roc, training
from farout.plots.display import Display
from farout.plots.grids import images, samples, strengths
from farout.plots.histograms import largest_radii, radii, scores
from farout.plots.mixtures import simplex
from farout.plots.planes import mapping, regions, two_spaces
from farout.plots.points import latent_map, scatter
from farout.plots.stressed import stress
from farout.plots.style import STYLE

__all__ = [
    "samples",
    "strengths",
    "images",
    "scatter",
    "latent_map",
    "radii",
    "scores",
    "roc",
    "reliability",
    "confusion",
    "shares",
    "training",
    "simplex",
    "archetypes",
    "features",
    "plane",
    "counts",
    "errors",
    "distances",
    "largest_radii",
    "two_spaces",
    "mapping",
    "regions",
    "compared",
    "stress",
    "Display",
    "STYLE",
]
