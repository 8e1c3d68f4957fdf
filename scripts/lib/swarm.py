"""What scripts/swarm.sh needs beside the shell: torrents, their end, the table and the plot.

Times are those of CLOCK_MONOTONIC, which is one for all processes of a machine.
"""

import ctypes
import hashlib
import json
import os
import socket
import statistics
import sys
import time

PIECE = 256 * 1024
TARGETS = {8: 1.3, 16: 1.45}


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, dict):
        return b"d" + b"".join(bencode(k) + bencode(value[k]) for k in sorted(value)) + b"e"
    raise TypeError(value)


def torrent(path, out):
    """Writes the torrent of one file."""
    pieces, size = [], 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            pieces.append(hashlib.sha1(piece).digest())
            size += len(piece)
    info = {b"length": size, b"name": os.path.basename(path).encode(),
            b"piece length": PIECE, b"pieces": b"".join(pieces)}
    with open(out, "wb") as file:
        file.write(bencode({b"info": info}))


def libtorrent_peer(path, folder, ip, *peers):
    """Seeds what is in the folder, fetches what is not; says when all is there, and seeds on."""
    import libtorrent
    session = libtorrent.session({
        "listen_interfaces": f"{ip}:6881", "enable_dht": False, "enable_lsd": False,
        "enable_upnp": False, "enable_natpmp": False,
    })
    handle = session.add_torrent({"ti": libtorrent.torrent_info(path), "save_path": folder})
    for peer in peers:
        host, port = peer.rsplit(":", 1)
        handle.connect_peer((host, int(port)))
    while not handle.status().is_seeding:
        time.sleep(0.02)
    print(time.monotonic(), flush=True)
    while True:
        time.sleep(60)


def enter(namespace):
    with open(f"/var/run/netns/{namespace}", "rb") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")


def finished(connection):
    """Whether the rqbit behind this connection has everything."""
    connection.sendall(b"GET /torrents/0/stats/v1 HTTP/1.1\r\nHost: rqbit\r\n\r\n")
    said = connection.recv(65536)
    return b'"finished":true' in said


def rqbit_watch(patience, *namespaces):
    """For each namespace, the time at which the rqbit in it had everything."""
    waiting, ends, until = {}, {}, time.monotonic() + float(patience)
    while len(ends) < len(namespaces) and time.monotonic() < until:
        for namespace in namespaces:
            if namespace in ends:
                continue
            try:
                if namespace not in waiting:
                    enter(namespace)
                    waiting[namespace] = socket.create_connection(("127.0.0.1", 3030), 2)
                if finished(waiting[namespace]):
                    ends[namespace] = time.monotonic()
            except OSError:
                waiting.pop(namespace, None)
        time.sleep(0.05)
    if len(ends) < len(namespaces):
        sys.exit(f"not finished within {patience} s")
    for namespace in namespaces:
        print(ends[namespace])


def medians(results):
    """Results are lines `contestant nodes seconds`; the median for each pair, in order."""
    times = {}
    with open(results) as file:
        for line in file:
            who, nodes, seconds = line.split()
            times.setdefault(who, {}).setdefault(int(nodes), []).append(float(seconds))
    return {who: {n: statistics.median(t) for n, t in sorted(of.items())}
            for who, of in times.items()}


def report(results, ideal, heading, section, plot):
    """Writes the table and the plot."""
    curves, ideal = medians(results), float(ideal)
    nodes = sorted({n for of in curves.values() for n in of})
    head = ["nodes", "target"] + list(curves)
    lines = [heading, "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for n in nodes:
        row = [str(n), f"{TARGETS[n]}" if n in TARGETS else ""]
        for of in curves.values():
            row.append(f"{of[n]:.2f} s ({of[n] / ideal:.2f})" if n in of else "")
        lines.append("| " + " | ".join(row) + " |")
    lines += ["", f"![the last of N nodes]({os.path.basename(plot)})"]
    with open(section, "w") as file:
        file.write("\n".join(lines) + "\n")
    with open(plot, "w") as file:
        file.write(svg(curves, nodes, ideal))
    print("\n".join(lines))


def svg(curves, nodes, ideal):
    """Ratio over the number of nodes; a star would be the dashed line."""
    width, height, left, top = 560, 320, 50, 20
    right, bottom = width - 120, height - 40
    ratios = [t / ideal for of in curves.values() for t in of.values()]
    most = max(2.0, min(max(ratios) * 1.1, 20.0))
    step = lambda n: left + (right - left) * nodes.index(n) / max(1, len(nodes) - 1)
    rise = lambda r: bottom - (bottom - top) * min(r, most) / most
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    tick = 1 if most <= 5 else 5
    for r in range(0, int(most) + 1, tick):
        out.append(f'<line x1="{left}" x2="{right}" y1="{rise(r):.1f}" y2="{rise(r):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{rise(r) + 4:.1f}" text-anchor="end">{r}</text>')
    for n in nodes:
        out.append(f'<text x="{step(n):.1f}" y="{bottom + 16}" text-anchor="middle">{n}</text>')
    out.append(f'<text x="{(left + right) / 2}" y="{height - 8}" text-anchor="middle">'
               'nodes; time of the last one over size / rate</text>')
    star = [(step(n), rise(n)) for n in nodes if n <= most]
    out.append(line(star, "#999", "a star", dashes=' stroke-dasharray="5 4"'))
    colours = ["#0b5", "#c30", "#06c", "#a0a"]
    for (who, of), colour in zip(curves.items(), colours):
        out.append(line([(step(n), rise(t / ideal)) for n, t in of.items()], colour, who))
    for n, target in TARGETS.items():
        if n in nodes:
            out.append(f'<path d="M{step(n) - 6:.1f} {rise(target):.1f}h12" stroke="black" stroke-width="2"/>')
    return "\n".join(out + ["</svg>"]) + "\n"


def line(points, colour, name, dashes=""):
    if not points:
        return ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return (f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
            f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{name}</text>')


def into(document, section, name):
    """Puts the section between its marks in the document, or behind it if it has none."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    with open(section) as file:
        text = f"{begin}\n{file.read()}{end}"
    old = ""
    if os.path.exists(document):
        with open(document) as file:
            old = file.read()
    if begin in old and end in old:
        new = old[: old.index(begin)] + text + old[old.index(end) + len(end):]
    else:
        new = old + ("\n" if old else "") + text + "\n"
    with open(document, "w") as file:
        file.write(new)


def field(name):
    """A field of the JSON on standard input."""
    print(json.load(sys.stdin)[name])


if __name__ == "__main__":
    does = {"torrent": torrent, "libtorrent": libtorrent_peer, "rqbit-watch": rqbit_watch,
            "report": report, "into": into, "field": field}
    does[sys.argv[1]](*sys.argv[2:])
