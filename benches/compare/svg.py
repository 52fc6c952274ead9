"""Draws latency by percentile as SVG, from HdrHistogram percentile files; no dependencies."""

import html
import math

PANELS = [("e2e1000", 1000), ("e2e10000", 10000)]
SUBJECTS = [("kafka", "Kafka, no fsync", "#d95f02"), ("kafka-fsync", "Kafka, fsync", "#7570b3"),
            ("millrace", "Millrace, fsync", "#1b9e77")]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 460, 300, 60, 40, 20, 50
NINES_MAX = 4
PERCENTILES = [(0, "0"), (1, "90"), (2, "99"), (3, "99.9"), (4, "99.99 %")]


def latency_plot(directory, entries):
    """End-to-end latency at both rates; each curve is the run with the median p99."""
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(PANELS)}" height="{HEIGHT + 30}" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    for index, (row, rate) in enumerate(PANELS):
        curves = {subject: curve(directory, entries, row, rate, subject) for subject, _, _ in SUBJECTS}
        parts.append(f'<g transform="translate({index * WIDTH},0)">')
        parts += panel(f"end-to-end latency at {rate:,} records/s", curves)
        parts.append("</g>")
    for index, (_, title, colour) in enumerate(SUBJECTS):
        x = LEFT + index * 180
        parts.append(f'<rect x="{x}" y="{HEIGHT + 8}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20}" y="{HEIGHT + 15}">{html.escape(title)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def curve(directory, entries, row, rate, subject):
    """Points (nines, milliseconds) of the repeat with the median p99."""
    runs = [e for e in entries if e["row"] == row and e["subject"] == subject]
    if not runs:
        return []
    runs.sort(key=lambda e: e["end_to_end_latency_us"]["p99"])
    file = directory / f"e2e-{rate}-{subject}-{runs[len(runs) // 2]['repeat']}.hgrm"
    return parse(file.read_text()) if file.exists() else []


def parse(text):
    """Value and percentile of each line of a percentile file."""
    points = []
    for line in text.splitlines():
        cells = line.split()
        if len(cells) < 3 or not cells[0][0].isdigit():
            continue
        value, quantile = float(cells[0]), float(cells[1])
        nines = NINES_MAX if quantile >= 1 else min(NINES_MAX, -math.log10(1 - quantile))
        points.append((nines, max(value, 0.01)))
        if nines >= NINES_MAX:
            break
    return points


def panel(title, curves):
    """Axes, grid and curves; both axes are logarithmic."""
    values = [value for points in curves.values() for _, value in points] or [0.1, 10]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def at(nines, value):
        x = LEFT + nines / NINES_MAX * (WIDTH - LEFT - RIGHT)
        y = TOP + (high - math.log10(value)) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return x, y

    parts = [f'<text x="{LEFT}" y="22" font-size="14">{html.escape(title)}</text>']
    for nines, label in PERCENTILES:
        x, bottom = at(nines, 10 ** low)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{label}</text>')
    for power in range(low, high + 1):
        x, y = at(0, 10 ** power)
        right = WIDTH - RIGHT
        parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{10 ** power:g} ms</text>')
    for subject, _, colour in SUBJECTS:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in curves[subject]))
        if points:
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts
