"""Bring what `farout reproduce all` wrote into the site: its words and tables, and its figures, small enough to keep.

``python docs/talk_from_run.py runs/talk`` copies each experiment's Markdown and PNG files to docs/talk/ours, where
docs/talk/results.md includes them.
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image

PLACE = Path(__file__).parent / "talk" / "ours"
MOST = 1100  # pixels across


def bring(run: Path, place: Path = PLACE) -> list[Path]:
    """Copy the tables and figures of a reproduction, in place of those that are there; their paths."""
    if not (run / "figures").is_dir():
        raise SystemExit(f"{run} has no figures; let `farout reproduce all --out {run}` end first")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    made = [Path(shutil.copy(file, place)) for file in sorted(run.glob("*.md"))]
    for file in sorted((run / "figures").glob("*.png")):
        with Image.open(file) as picture:
            small = picture.convert("RGB")
            small.thumbnail((MOST, 4 * MOST))
            small.quantize(128, dither=Image.Dither.NONE).save(place / file.name, optimize=True)
        made.append(place / file.name)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of `farout reproduce all`")
    files = bring(parser.parse_args().run)
    print(f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB, in {PLACE}")
