"""Charts as SVG, drawn by hand: they need no library and look right on light and on dark paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, MARGIN = 760, 20
STYLE = """
  svg { color-scheme: light dark; font: 13px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
  .paper { fill: #fff } text { fill: #1b1b1b } .quiet { fill: #6b6b6b } .bar { fill: #b9b5ab } .ours { fill: #1b1b1b }
  .title { font: 600 16px Georgia, serif } .line { stroke: #dcd8cf }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #161513 } text { fill: #efece6 } .quiet { fill: #a19d94 } .bar { fill: #57534b }
    .ours { fill: #efece6 } .line { stroke: #3a3732 }
  }"""


@dataclass(frozen=True)
class Panel:
    """One small chart: a name, a value for each label, and how a value is written."""

    name: str
    values: Sequence[float]
    form: str


def bars(title: str, note: str, rows: Sequence[tuple[str, float, str]], *, stressed: str) -> str:
    """A bar for each (name, value, remark)."""
    left, row, top = 150, 34, 76
    room, largest = WIDTH - left - 250, max((value for _, value, _ in rows), default=0) or 1
    marks = []
    for number, (name, value, remark) in enumerate(rows):
        y, length = top + number * row, max(room * value / largest, 1)
        kind = "ours" if name == stressed else "bar"
        marks += [
            _text(left - 10, y + 16, name, anchor="end"),
            f'<rect class="{kind}" x="{left}" y="{y}" width="{length:.1f}" height="22"/>',
            _text(left + length + 8, y + 16, f"{value:,.0f}"),
            _text(WIDTH - MARGIN, y + 16, remark, anchor="end", kind="quiet"),
        ]
    return _page(title, note, marks, height=top + len(rows) * row + MARGIN)


def columns(title: str, note: str, labels: Sequence[str], panels: Sequence[Panel]) -> str:
    """Panels side by side, each with a column for each label."""
    width = (WIDTH - MARGIN * (len(panels) + 1)) / len(panels)
    marks = []
    for number, panel in enumerate(panels):
        marks += _panel(panel, labels, left=MARGIN + number * (width + MARGIN), width=width)
    return _page(title, note, marks, height=330)


def _panel(panel: Panel, labels: Sequence[str], *, left: float, width: float) -> list[str]:
    floor, height, step = 285, 150, width / len(labels)
    largest = max(panel.values, default=0) or 1
    marks = [
        _text(left, 100, panel.name),
        f'<line class="line" x1="{left:.1f}" x2="{left + width:.1f}" y1="{floor}" y2="{floor}"/>',
    ]
    for number, (label, value) in enumerate(zip(labels, panel.values, strict=True)):
        middle, tall = left + step * (number + 0.5), height * value / largest
        x, y = middle - step * 0.3, floor - tall
        marks += [
            f'<rect class="ours" x="{x:.1f}" y="{y:.1f}" width="{step * 0.6:.1f}" height="{tall:.1f}"/>',
            _text(middle, y - 6, panel.form.format(value), anchor="middle"),
            _text(middle, floor + 18, label, anchor="middle", kind="quiet"),
        ]
    return marks


def _page(title: str, note: str, marks: Sequence[str], *, height: float) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        _text(MARGIN, 34, title, kind="title"),
        _text(MARGIN, 56, note, kind="quiet"),
        *marks,
        "</svg>\n",
    ]
    return "\n".join(parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'
