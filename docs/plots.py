"""Draws the pictures of docs/plots.md by the calls that stand there, about a minute. Run: python docs/plots.py"""

import re
from pathlib import Path

import matplotlib as mpl
from PIL import Image

mpl.use("agg")
HERE = Path(__file__).parent
MOST = 60_000  # bytes of a picture


def blocks() -> list[tuple[str, str | None]]:
    """The code blocks of docs/plots.md in their order, each with the name of the picture below it, if it has one."""
    text = (HERE / "plots.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```(?:\n\n!\[[^\]]*\]\(plots/([a-z_]+)\.png\))?", text, flags=re.DOTALL)
    return [(code, name or None) for code, name in found]


def main(out: Path = HERE / "plots") -> None:
    """Run the blocks one after the other; the last line of each is a plot, whose figure is saved."""
    import farout as fo

    names: dict[str, object] = {}
    with mpl.rc_context(fo.plots.STYLE):
        for code, name in blocks():
            exec(code, names)
            if name is None:
                continue
            path = out / f"{name}.png"
            names["display"].figure_.savefig(path, dpi=110, bbox_inches="tight")
            Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)
            if path.stat().st_size > MOST:
                raise SystemExit(f"{path}: {path.stat().st_size} bytes, more than {MOST}")


if __name__ == "__main__":
    main()
