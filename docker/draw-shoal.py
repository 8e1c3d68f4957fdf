#!/usr/bin/env python3
"""Draws docker/start-set/node2/pictures/shoal.png: a shoal of fish turning below the surface.

usage: docker/draw-shoal.py FILE.png

The same picture every time. Needs nothing but Python.
"""

import math
import random
import struct
import sys
import zlib

WIDTH, HEIGHT = 640, 400
FISH = 150
SURFACE, DEEP = (122, 205, 214), (6, 38, 74)
SKINS = [((38, 84, 120), (214, 232, 236)), ((30, 96, 118), (190, 226, 222)), ((52, 70, 120), (206, 214, 240))]
STRANGER = ((196, 74, 32), (255, 214, 130))
STEP = 6        # shades are rounded to this: a much smaller file, and hardly a difference to see
SUBPIXELS = [(x / 3 - 1 / 3, y / 3 - 1 / 3) for y in range(3) for x in range(3)]


def mix(a, b, t):
    t = min(max(t, 0.0), 1.0)
    return tuple(p + (q - p) * t for p, q in zip(a, b))


def water(x, y):
    """The sea without fish: darker below, with beams of light that fan out from above."""
    colour = mix(SURFACE, DEEP, (y / HEIGHT) ** 0.7)
    angle = (x - 0.68 * WIDTH) / (y + 260)
    beam = max(0.0, math.sin(angle * 17) * math.sin(angle * 7 + 1)) * (1 - y / HEIGHT) ** 1.6
    return mix(colour, (236, 252, 244), 0.34 * beam)


def half_height(u):
    """Half of the body's height at `u`, from 1 (nose) to -1 (root of the tail)."""
    return 0.055 + 0.30 * math.sqrt(max(0.0, 1 - u * u)) * (0.62 + 0.38 * u) if -1 <= u <= 1 else 0.0


def part(u, v):
    """What a point of the fish is: `body`, `fin`, `eye`, or None beside it."""
    if math.hypot(u - 0.66, v + 0.06) < 0.055:
        return "eye"
    if abs(v) <= half_height(u):
        return "body"
    if -1.5 < u < -0.93 and abs(v) < (-0.86 - u) * 0.72 and (u + 1.5) > 0.42 * (0.42 - abs(v)):
        return "fin"
    if -0.35 < u < 0.2 and -half_height(u) - 0.14 * (0.2 - u) / 0.55 * 2 < v < 0:
        return "fin"
    return None


def shade(kind, v, u, skin):
    back, belly = skin
    if kind == "eye":
        return (12, 20, 30)
    if kind == "fin":
        return mix(back, belly, 0.35)
    stripe = 0.25 if abs(v + 0.02) < 0.028 and u < 0.5 else 0.0
    return mix(mix(back, belly, 0.5 + v / 0.5), (255, 255, 255), stripe)


def draw(canvas, x, y, size, heading, skin, haze):
    cos, sin = math.cos(heading), math.sin(heading)
    upright = -1 if cos < 0 else 1          # nobody swims on the back
    reach = int(size * 1.6) + 2
    for py in range(max(0, int(y) - reach), min(HEIGHT, int(y) + reach)):
        for px in range(max(0, int(x) - reach), min(WIDTH, int(x) + reach)):
            colour, hits = (0.0, 0.0, 0.0), 0
            for ox, oy in SUBPIXELS:
                dx, dy = (px + ox - x) / size, (py + oy - y) / size
                u, v = dx * cos + dy * sin, (dy * cos - dx * sin) * upright
                kind = part(u, v)
                if kind:
                    hits += 1
                    colour = tuple(c + s for c, s in zip(colour, shade(kind, v, u, skin)))
            if hits:
                fish = mix(tuple(c / hits for c in colour), water(px, py), haze)
                canvas[py][px] = mix(canvas[py][px], fish, hits / len(SUBPIXELS))


def school(dice):
    """Fish on a wide, tilted ring, far ones first; one of them is of another kind."""
    for k in range(FISH):
        near = k / FISH
        turn = dice.uniform(0, 2 * math.pi)
        radius = 1 + dice.gauss(0, 0.16)
        x = WIDTH * (0.48 + 0.36 * radius * math.cos(turn))
        y = HEIGHT * (0.54 + 0.30 * radius * math.sin(turn) + 0.05 * math.cos(turn))
        heading = math.atan2(HEIGHT * 0.30 * math.cos(turn), -WIDTH * 0.36 * math.sin(turn)) + dice.gauss(0, 0.10)
        skin = STRANGER if k == FISH - 17 else dice.choice(SKINS)
        yield x, y, 6 + 11 * near ** 1.5 + dice.uniform(0, 2), heading, skin, 0.72 * (1 - near)


def filters(row, above):
    """The row as itself, and as differences to its left and to its upper neighbours."""
    left = bytes(3) + row
    yield b"\x00" + row
    yield b"\x01" + bytes((a - b) & 255 for a, b in zip(row, left))
    yield b"\x02" + bytes((a - b) & 255 for a, b in zip(row, above))


def smallest(rows):
    return min(rows, key=lambda row: len(zlib.compress(row)))


def png(rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    raw, above = bytearray(), bytes(3 * WIDTH)
    for row in rows:
        raw += smallest(filters(row, above))
        above = row
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(bytes(raw), 9)) + chunk(b"IEND", b""))


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__.strip())
    canvas = [[water(x, y) for x in range(WIDTH)] for y in range(HEIGHT)]
    for fish in school(random.Random(12345)):
        draw(canvas, *fish)
    rows = [bytes(min(255, int(c / STEP + 0.5) * STEP) for colour in row for c in colour) for row in canvas]
    with open(sys.argv[1], "wb") as file:
        file.write(png(rows))


if __name__ == "__main__":
    main()
