"""What the measuring scripts share: programs built from this tree, what a run printed, the host and its calm."""
import bisect, collections, datetime, json, os, pathlib, platform, re, statistics, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS_FOLDER = ROOT / "benches" / "peers"
APART = "cache_line_round_trip_ns"
# Distances that are no more than this apart are of one place, as in tests/readme/rounds.rs.
APART_FACTOR = 1.5
PATIENCE_S = 20


def output(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def build(name, folder=ROOT):
    """Builds the package in `folder` and returns the path of its program."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=folder, check=True)
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"]
    meta = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return str(pathlib.Path(json.loads(meta.stdout)["target_directory"]) / "release" / name)


def last_object(command, limit_s):
    """The JSON object that a run ends with; a run without one ends the script."""
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=limit_s)
    try:
        return json.loads(run.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        sys.exit(f"no result: {' '.join(map(str, command))}\n{run.stderr}")


def spread(values, digits=2):
    """Median [least to most]."""
    least, middle, most = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} [{least:,.{digits}f} to {most:,.{digits}f}]"


class Cores:
    """Has runs begin and end with the two cores as near each other as they were seen, and tells how far apart they were."""

    def __init__(self, ringwire, patience_s=PATIENCE_S):
        self.question = [ringwire, "limits", "--only", APART, "--duration", "20ms", "--json"]
        self.patience_s, self.seen = patience_s, []
        for _ in range(20):
            self.ask()
            time.sleep(0.2)

    def ask(self):
        """The distance now, in ns; None where it cannot be told, as on one core."""
        apart = last_object(self.question, 30)["limits"][APART]["value"]
        if apart:
            bisect.insort(self.seen, apart)
        return apart

    def is_near(self, apart):
        # A tenth of them from below, not the least: one look in fifty is far below the others, and no run shows it.
        return apart is None or apart <= self.seen[len(self.seen) // 10] * APART_FACTOR

    def ask_until_near(self):
        end = time.monotonic() + self.patience_s
        while not self.is_near(apart := self.ask()) and time.monotonic() < end:
            time.sleep(0.2)
        return apart

    def around(self, run):
        """What `run` gives, {} for nothing, and the distance before and after it."""
        for _ in range(2):
            before = self.ask_until_near()
            result, after = run() or {}, self.ask()
            # Where they stayed far away for all that time, another run tells no more.
            if self.is_near(after) or not self.is_near(before):
                break
        return result | {"apart_ns": [before, after]}


class Page:
    """Lines that are printed as they come, and written to a file at the end where one was asked for."""

    def __init__(self, title, args):
        self.lines, self.ticks, self.runs, self.doubts = [], _ticks(), 0, collections.Counter()
        changes = output("git", "status", "--porcelain", "--untracked-files=no", "--", "src", "benches", "Cargo.toml", "Cargo.lock")
        dirty = f" with {len(changes.splitlines())} files changed" if changes else ""
        command = f"scripts/{pathlib.Path(sys.argv[0]).name} --rounds {args.rounds} --seconds {args.seconds}"
        self.say(f"# {title}")
        self.say(f"# commit {output('git', 'rev-parse', '--short', 'HEAD')}{dirty} · {command} · {datetime.date.today()}")
        self.say(f"# Linux {platform.release()}, {len(os.sched_getaffinity(0))} cores of {_cpu()}")

    def say(self, text):
        print(text, flush=True)
        self.lines.append(text)

    def count(self, report):
        """Counts a run of `ringwire bench`, and why its figures are not to be used."""
        self.runs += 1
        self.doubts.update(re.sub(r"\d+ %", "some", why) for why in report["invalid_why"] or [])
        self.doubts["calls failed"] += bool(report["failed"] or report["unknown"])

    def end(self, path):
        """Says how calm the host was since the page began, and writes the page."""
        for why, times in (+self.doubts).most_common():
            self.say(f"{times} of {self.runs} runs of ringwire are not valid: {why}")
        total, stolen = (now - then for now, then in zip(_ticks(), self.ticks))
        self.say(f"{100 * stolen / max(total, 1):.2f} % of the cores' time was stolen")
        if path:
            pathlib.Path(path).write_text("\n".join(self.lines) + "\n")


def _cpu():
    names = (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    return next(names, platform.machine())


def _ticks():
    """All of the cores' time, and what the hypervisor took of it."""
    row = [int(ticks) for ticks in open("/proc/stat").readline().split()[1:9]]
    return sum(row), row[7]
