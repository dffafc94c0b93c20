"""Sections of a report page about archetypes."""

from collections.abc import Iterator

import numpy as np

from farout import plots
from farout.plots.archetype_pictures import short_names, tiles_of
from farout.plots.grids import is_image, padded_rows
from farout.plots.mixtures import circle_order
from farout.report.content import ArchetypeContent, Array, ReportContent
from farout.report.parts import Drawn, Section, Table, section

__all__ = ["archetype_sections"]

_COLUMNS = 12  # of reconstructions
_NARROW = 6  # archetypes that fit half the width of the page
_CLASSES = 12  # classes that the simplex plot can distinguish


def archetype_sections(content: ReportContent) -> Iterator[Section]:
    """Build the sections about archetypes for which there is content, in the order of the page."""
    found, shape = content.archetypes, content.event_shape
    if found is None:
        return
    names = short_names(len(found.archetypes), found.classes)
    yield from _archetypes(found, shape, names)
    yield from _weights(found, shape, names)
    yield from _draws(found, shape, names)
    yield from _counts(found)
    yield from _hull(found)
    yield from _reconstructions(found, shape)


def _archetypes(found: ArchetypeContent, shape: tuple[int, ...], names: list[str]) -> Iterator[Section]:
    text = "Archetypes are extreme points of the data; each sample is described as a mixture of them."
    shown = []
    if is_image(shape):
        sheet = plots.archetypes(found.archetypes, found.nearest, event_shape=shape, classes=found.classes)
        caption = "" if found.classes is None else "Below each number: the class that the archetype is decoded under."
        alt = f"{len(names)} archetypes as images, and below each its nearest samples"
        shown.append(Drawn(sheet, "", alt, caption, wide=len(names) > _NARROW))
        if found.nearest is not None:
            text += " Below each: the samples with the largest weight on it."
        if found.by_class:
            text += " The flow is conditioned on the class, so each archetype can be decoded under every class."
            shown.append(_by_class(found, shape))
    elif found.mean is not None and found.spread is not None and (found.spread > 0).any():
        columns = found.feature_names or [f"column {j + 1}" for j in range(len(found.mean))]
        if found.points is not None and len(columns) == 2:
            plane = plots.plane(
                found.points, found.archetypes, names, outline=found.outline, columns=(columns[0], columns[1])
            )
            shown.append(Drawn(plane, "In the plane of the data", "Data, archetypes, and the hull of the archetypes"))
        bars = plots.features(found.archetypes, found.mean, found.spread, names, columns)
        varying = int((found.spread > 0).sum())
        caption = f"The 15 of {varying} features in which archetypes differ most." if varying > 15 else ""
        alt = f"Bars of the standardised features of {len(names)} archetypes"
        shown.append(Drawn(bars, "Features", alt, caption, wide=len(columns) > 2))
    if shown:
        yield section("archetypes", "The archetypes", text, shown)


def _by_class(found: ArchetypeContent, shape: tuple[int, ...]) -> Drawn:
    """A grid of archetypes and classes; the longer of both is horizontal."""
    grid = np.stack(list(found.by_class.values()))
    rows, columns = list(found.by_class), short_names(len(found.archetypes))
    if len(rows) > len(columns):
        grid, rows, columns = grid.swapaxes(0, 1), [f"archetype {number}" for number in columns], rows
    figure = plots.images(grid, shape, row_labels=rows, column_labels=columns)
    alt = "Archetypes, decoded under each class"
    return Drawn(figure, "Decoded under each class", alt, wide=len(columns) > _NARROW)


def _weights(found: ArchetypeContent, shape: tuple[int, ...], names: list[str]) -> Iterator[Section]:
    if found.weights is None or len(names) < 2:
        return
    concentrations = [draws.concentration for draws in found.draws if draws.concentration != 1]
    outlines = concentrations if len(names) == 3 else []
    figure = plots.simplex(
        found.weights,
        names,
        labels=found.labels,
        tiles=_tiles(found.archetypes, shape),
        order=_order(found.archetypes),
        outlines=outlines,
    )
    text = f"Each point is a sample; it is nearest to the archetypes of largest weight. {_of_projection(len(names))}"
    if outlines:
        text += (
            " Curves bound the region that holds the densest half of the Dirichlet distribution with concentration c: "
            "the inside for c above 1, the part between curve and edge for c below 1."
        )
    if found.labels is not None and len(np.unique(found.labels)) > _CLASSES:
        text += f" Classes are not coloured, since there are more than {_CLASSES}."
    alt = f"Simplex plot of {len(found.weights)} samples over {len(names)} archetypes"
    yield section("simplex", "Data as mixtures", text.strip(), [Drawn(figure, "", alt)])


def _of_projection(k: int) -> str:
    if k <= 3:
        return ""
    return (
        "With more than three archetypes this is a projection: a point in the middle may be a mixture of any. "
        "Similar archetypes are placed next to each other."
    )


def _draws(found: ArchetypeContent, shape: tuple[int, ...], names: list[str]) -> Iterator[Section]:
    if not found.draws:
        return
    titles = [f"{_kind(draws.concentration)} (concentration {draws.concentration:g})" for draws in found.draws]
    if is_image(shape):
        pictures = [
            Drawn(plots.samples(draws.samples, draws.labels, event_shape=shape), title, f"{title}: sample images")
            for title, draws in zip(titles, found.draws, strict=True)
        ]
    else:
        groups = {title: draws.samples for title, draws in zip(titles, found.draws, strict=True)}
        pictures = [
            Drawn(plots.scatter(groups, data=found.points), "", "Scatter of draws at each concentration", wide=True)
        ]
    for title, draws in zip(titles, found.draws, strict=True):
        figure = plots.simplex(
            draws.weights,
            names,
            tiles=_tiles(found.archetypes, shape),
            order=_order(found.archetypes),
            shade=draws.concentration,
        )
        pictures.append(Drawn(figure, f"{title}: weights", f"Simplex with Dirichlet density and draws. {title}"))
    rows = "Each row of images has one class. " if found.draws[0].labels is not None and is_image(shape) else ""
    yield section(
        "draws",
        "Inliers and outliers by concentration",
        "Weights are drawn from a Dirichlet distribution and decoded. A large concentration mixes all archetypes and "
        "gives inliers; a small one gives weights at the edges of the simplex, and outliers. "
        f"{rows}Shading: density of the distribution.",
        pictures,
    )


def _kind(concentration: float) -> str:
    return "Inliers" if concentration > 1 else "Outliers"


def _counts(found: ArchetypeContent) -> Iterator[Section]:
    if not found.counts:
        return
    counts = found.counts
    figure = plots.counts(counts["counts"], counts["explained"], counts["stability"], chosen=len(found.archetypes))
    yield section(
        "counts",
        "How many archetypes",
        f"Explained variance of the {counts['of']}, by linear archetypal analysis from several starts on "
        f"{counts['rows']} rows. More archetypes explain more; from the number on where restarts find different ones, "
        "the additional ones mean little.",
        [Drawn(figure, "", "Explained variance and stability over the number of archetypes", wide=True)],
    )


def _hull(found: ArchetypeContent) -> Iterator[Section]:
    if not found.hull:
        return
    shown = found.classes is not None
    header = ("archetype", *["class"] * shown, "largest weight", "distance to the nearest sample", "typical distance")
    rows = []
    for row in found.hull:
        j = int(row["archetype"])
        classes = [] if found.classes is None else [str(found.classes[j])]
        distances = [f"{row[name]:.2f}" for name in ("distance", "typical_distance")]
        rows.append((str(j + 1), *classes, f"{row['largest_weight']:.3f}", *distances))
    text = (
        f"Largest weight: that of any of {found.rows} samples on the archetype; 1 means that it lies on the hull of "
        "the data. Distances are in the flow's latent space, from the archetype to the nearest sample. The typical "
        "distance is the median over samples of that to the nearest other sample."
    )
    yield section("hull", "Are the archetypes on the hull?", text, [], tables=[Table(header, tuple(rows))])


def _reconstructions(found: ArchetypeContent, shape: tuple[int, ...]) -> Iterator[Section]:
    if not found.reconstructions:
        return
    if is_image(shape):
        columns = min(_COLUMNS, max(map(len, found.reconstructions.values())))
        grid = np.stack([padded_rows(X, columns) for X in found.reconstructions.values()])
        figure = plots.images(grid, shape, row_labels=list(found.reconstructions))
    else:
        (_, originals), *others = found.reconstructions.items()
        figure = plots.scatter(dict(others), data=originals)
    errors = "; ".join(f"{name}: {value:.4f}" for name, value in found.errors.items())
    caption = f"Mean squared error per element, of {found.rows} samples: {errors}." if errors else ""
    yield section(
        "reconstructions",
        "Reconstruction from archetype weights",
        "Samples reconstructed from their weights alone, and with a random nullspace part added. The nullspace part is "
        "that part of the latent that the weights don't depend on; it is drawn from a fit to the training data.",
        [Drawn(figure, "", "Originals and reconstructions: " + ", ".join(found.reconstructions), caption, wide=True)],
    )


def _tiles(archetypes: Array, shape: tuple[int, ...]) -> Array | None:
    return tiles_of(archetypes, shape) if is_image(shape) else None


def _order(archetypes: Array) -> Array:
    return circle_order(archetypes) if len(archetypes) > 3 else np.arange(len(archetypes))
