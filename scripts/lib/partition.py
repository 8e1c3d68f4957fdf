"""What scripts/partition.sh does once its namespaces stand.

Node K runs in the namespace NET-K, at 10.77.0.(10+K). A cut moves its cable to another switch, so
every packet to the others is lost without a word; healing moves it back.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import threading
import time

NET, BIN, PLACE = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
NODES = 30
TRACKER = 30
SEARCH = 4000
# Seconds. A cut is healed within two intervals of exchange.
EXCHANGE = 3.0
HEARTBEAT = 1.0
# Beyond what is asked for: a machine may be busy, and a look at 30 nodes takes time.
PATIENCE = 60.0

results = collections.Counter()


def address(k):
    return f"10.77.0.{10 + k}"


def inside(k, *command):
    return ["ip", "netns", "exec", f"{NET}-{k}", *map(str, command)]


def plug(k, switch):
    subprocess.run(["ip", "-n", f"{NET}-hub", "link", "set", f"cable{k}", "master", switch], check=True)


def cut(numbers):
    for k in numbers:
        plug(k, "other")


def heal(numbers):
    for k in numbers:
        plug(k, "switch")


def judge(good, what, more=""):
    results["passed" if good else "failed"] += 1
    print(("ok " if good else "not ok ") + what + more, flush=True)
    return good


def within(limit, what, holds):
    """Waits until it holds; whether it did within `limit` seconds, and after how many."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > max(limit, PATIENCE):
            return judge(False, what, f": not within {max(limit, PATIENCE):.0f} s")
        time.sleep(0.02)
    took = time.monotonic() - begin
    return judge(took <= limit, what, f": {took:.2f} s (limit {limit:g})")


class Program:
    """A program in a namespace; what it prints is kept."""

    def __init__(self, k, name, *arguments):
        self.k, self.name, self.arguments = k, name, arguments
        self.lines = []
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            inside(self.k, *self.arguments), cwd=PLACE, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def read(self, output):
        for line in output:
            self.lines.append(line.rstrip("\n"))

    def kill(self):
        # `ip netns exec` becomes the program itself.
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def types(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # A killed node reads nothing.


class Node(Program):
    def __init__(self, k, *flags):
        self.files = PLACE / f"node{k}"
        self.files.mkdir()
        self.logs = PLACE / f"logs{k}"
        super().__init__(k, f"node{k}", BIN / "shoal-node", "--name", f"node{k}", "--listen", address(k),
                         "--search-port", SEARCH, "--files", self.files, "--logs", self.logs, *flags)

    def ask(self, *command):
        said = subprocess.run([BIN / "shoal-node", "ctl", "--files", self.files, "--json", *command],
                              capture_output=True, text=True, timeout=60)
        try:
            return json.loads(said.stdout)
        except json.JSONDecodeError:
            return None

    def sees(self):
        peers = self.ask("peers")
        if not isinstance(peers, list):
            return None
        return {peer["name"] for peer in peers if peer["state"] == "online"}

    def tracker(self):
        found = self.ask("tracker")
        return found if isinstance(found, dict) and "epoch" in found else None

    def follows(self, where, epoch=None):
        """Whether it hears the tracker there."""
        found = self.tracker()
        return (found is not None and found["contact"] != "lost" and found["address"].split(":")[0] == where
                and (epoch is None or found["epoch"] >= epoch))


def tracker_program():
    return Program(TRACKER, "tracker", BIN / "shoal-tracker", "--listen", f"{address(TRACKER)}:12345",
                   "--heartbeat", HEARTBEAT, "--logs", PLACE / "logs-tracker")


def end(programs):
    for program in programs:
        program.kill()
        for folder in ("files", "logs"):
            path = getattr(program, folder, None)
            if path:
                subprocess.run(["rm", "-rf", path], check=True)


class Seen:
    """All of some nodes see each other and nobody else. Each is asked until it does, then the next."""

    def __init__(self, nodes):
        self.left = list(nodes)
        self.all = {node.name for node in nodes}

    def __call__(self):
        while self.left and self.left[-1].sees() == self.all - {self.left[-1].name}:
            self.left.pop()
        return not self.left


def chain():
    print(f"{NODES} nodes, each with one neighbour, no tracker; exchange every {EXCHANGE:g} s", flush=True)
    nodes = []
    for k in range(NODES):
        neighbors = PLACE / f"neighbors{k}"
        neighbors.write_text(f"# a chain\n{address(k - 1)}:{SEARCH}\n" if k else "# the first\n")
        nodes.append(Node(k, "--neighbors", neighbors, "--exchange", EXCHANGE))
    within(5, "all know each other", Seen(nodes))
    few, many = nodes[:10], nodes[10:]
    cut(range(10))
    within(PATIENCE, "cut into 10 and 20, each part knows that the other is gone",
           lambda seen=[Seen(few), Seen(many)]: all([part() for part in seen]))
    heal(range(10))
    within(2 * EXCHANGE, "healed, all know each other within two intervals", Seen(nodes))
    end(nodes)


def registers(node):
    """Whether somebody who only knows this node gets into the network through it."""
    guest = subprocess.run(
        inside(29, BIN / "shoal-node", "get", "no such file", "--peer", f"{address(node.k)}:{SEARCH}",
               "--tracker", f"{address(TRACKER)}:12345", "--listen", address(29), "--files", PLACE / "guest"),
        capture_output=True, text=True, timeout=60, cwd=PLACE)
    return guest.returncode == 1


def one_of(nodes, epoch):
    """Whether all of these follow the same one of them, elected. Mostly it is the eldest; but who
    noticed the silence first may have asked while others still heard the tracker."""
    found = [node.tracker() for node in nodes]
    return (all(tracker and tracker["contact"] != "lost" and tracker["role"] == "successor"
                and tracker["epoch"] >= epoch for tracker in found)
            and len({tracker["id"] for tracker in found}) == 1
            and found[0]["name"] in {node.name for node in nodes})


def tracker():
    print(f"a tracker and five nodes, heartbeat {HEARTBEAT:g} s", flush=True)
    home = tracker_program()
    flags = ("--tracker", f"{address(TRACKER)}:12345", "--exchange", EXCHANGE)
    nodes = []
    # One after the other, so that the line of succession is that of their numbers.
    for k in range(5):
        nodes.append(Node(k, *flags))
        within(10, f"node{k} follows the home tracker", lambda: nodes[-1].follows(address(TRACKER)))
    silent = 2 * HEARTBEAT + 3
    cut([TRACKER])
    within(silent, "the tracker is cut off: the eldest is tracker", lambda: nodes[0].follows(address(0), 2))
    for node in nodes[1:]:
        within(3, f"  {node.name} follows it", lambda node=node: node.follows(address(0), 2))
    judge(registers(nodes[3]), "  a newcomer gets in through any of them")
    heal([TRACKER])
    for node in nodes:
        within(10, f"healed, {node.name} follows the home tracker again", lambda node=node: node.follows(address(TRACKER), 3))
    epoch = nodes[4].tracker()["epoch"]
    cut([4])
    within(silent + 5, "a node is cut off alone and serves itself", lambda: nodes[4].follows(address(4)))
    judge(nodes[1].follows(address(TRACKER)) and nodes[1].tracker()["epoch"] == epoch,
          "  the others have the tracker that they had")
    heal([4])
    within(10, "healed, it follows that one, too", lambda: nodes[4].follows(address(TRACKER)))
    judge(nodes[1].follows(address(TRACKER)), "  and so do the others")
    cut([TRACKER, 0, 1])
    within(silent + 3, "cut off with two nodes: the other three have a tracker of their own",
           lambda: one_of(nodes[2:], epoch + 1))
    judge(all(node.follows(address(TRACKER)) for node in nodes[:2]), "  and the two keep the home tracker")
    heal([TRACKER, 0, 1])
    for node in nodes:
        within(15, f"healed, {node.name} follows the home tracker, in a later epoch",
               lambda node=node: node.follows(address(TRACKER), epoch + 2))
    end([home, *nodes])


RATE = 40
SECONDS = 14


class Talker(Node):
    def __init__(self, k, *flags):
        self.said, self.accepted = 0, set()
        self.mark = f"[lobby] node{k}: node{k} "
        super().__init__(k, *flags)

    def read(self, output):
        # The answer to `say` is the line as everyone has it.
        for line in output:
            before, mark, number = line.rstrip("\n").partition(self.mark)
            if mark:
                self.accepted.add(f"{self.name} {number}")
            else:
                self.lines.append(line.rstrip("\n"))

    def says(self):
        self.said += 1
        self.types(f"say {self.name} {self.said}")

    def transcript(self):
        """What it has heard: (place in the log, line), in order."""
        heard = []
        for path in sorted(self.logs.glob("chat_log_*")):
            for line in path.read_text().splitlines():
                found = re.search(r"#(\d+) .*\[lobby\] node\d+: (node\d+ \d+)$", line)
                if found:
                    heard.append((int(found[1]), found[2]))
        return heard


def chat():
    print(f"five nodes say {5 * RATE} lines a second for {SECONDS} s", flush=True)
    home = tracker_program()
    flags = ("--tracker", f"{address(TRACKER)}:12345", "--exchange", EXCHANGE)
    talkers = [Talker(k, *flags) for k in range(5)]
    for talker in talkers:
        talker.says()
    within(PATIENCE, "all are in the chat", lambda: all(talker.accepted for talker in talkers))
    kill_tracker = lambda: (home.kill(), home.start())
    deeds = [(2, "the tracker is killed and started again", kill_tracker),
             (4, "node2 is killed", talkers[2].kill), (5, "node2 is started again", talkers[2].start),
             (6, "the tracker is killed and started again", kill_tracker),
             (7.5, "node4 is cut off", lambda: cut([4])),
             (10, "the tracker is killed, for good", home.kill),
             (11, "node4 is back", lambda: heal([4]))]
    begin = time.monotonic()
    for step in range(RATE * SECONDS):
        time.sleep(max(0, begin + step / RATE - time.monotonic()))
        while deeds and time.monotonic() - begin >= deeds[0][0]:
            print(f"   {deeds[0][0]:g} s: {deeds[0][1]}", flush=True)
            deeds.pop(0)[2]()
        for talker in talkers:
            talker.says()
    # What was typed to a node that did not run is not said; all else is, in the end.
    count = lambda talker: sum(line.startswith(f"{talker.name} ") for _, line in talker.transcript())
    within(2 * PATIENCE, "all that was said is in the transcripts",
           lambda: all(count(talker) == talker.said for talker in talkers if talker.k != 2))
    within(PATIENCE, "all transcripts are equal",
           lambda: all(talker.transcript() == talkers[0].transcript() for talker in talkers[1:]))
    heard = talkers[0].transcript()
    lines = [line for _, line in heard]
    judge(len(set(lines)) == len(lines), "nothing is doubled", f": {len(lines)} lines")
    judge(all(a < b for (a, _), (b, _) in zip(heard, heard[1:])), "the order is that of the log")
    accepted = set().union(*(talker.accepted for talker in talkers))
    judge(not accepted - set(lines), "nothing that was acknowledged is missing",
          f": {len(accepted)} acknowledged at the prompts")
    judge(len(lines) > 4 * RATE * SECONDS, "they talked all the time")
    within(10, "a node is tracker in the end", lambda: talkers[1].follows(talkers[1].tracker()["address"].split(":")[0])
           and talkers[1].tracker()["role"] != "home")
    end([*talkers])


for scenario in sys.argv[4:]:
    {"chain": chain, "tracker": tracker, "chat": chat}[scenario]()
print(f"{results['passed']} passed, {results['failed']} failed, 0 skipped")
sys.exit(1 if results["failed"] else 0)
