"""Two hosts on one machine: network namespaces that the script makes itself, joined by a veth pair, with nothing
but each other. They end with the script. No root is needed where the kernel lets users make namespaces."""
import subprocess, sys

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
LINK = "link0"


class Host:
    """A process that does nothing but keep a namespace alive, until its stdin closes."""

    def __init__(self, command, with_user):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.holder = subprocess.Popen(command, text=True, **pipes)
        self.with_user = with_user
        try:
            self.holder.stdin.write("up\n")
            self.holder.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended: what it answers says so, too.
        # `cat` answers only once `unshare` has become it.
        if self.holder.stdout.readline() != "up\n":
            raise OSError(f"{' '.join(command)}: {self.holder.stderr.read().strip()}")

    @property
    def netns(self):
        return f"/proc/{self.holder.pid}/ns/net"

    def inside(self, *words):
        """`words` as a command on this host."""
        user = ["-U", "--preserve-credentials"] if self.with_user else []
        return ["nsenter", "-t", str(self.holder.pid), *user, "-n", *map(str, words)]

    def do(self, *words):
        run = subprocess.run(self.inside(*words), capture_output=True, text=True)
        if run.returncode:
            raise OSError(f"{' '.join(map(str, words))}: {run.stderr.strip()}")
        return run.stdout


class Net:
    """Both hosts. Ends the script, and says why, where this machine does not let it make them."""

    def __init__(self, mtu):
        try:
            self.server = self._first()
            self.client = Host(self.server.inside("unshare", "-n", "cat"), self.server.with_user)
            pair = f"ip link add {LINK} mtu {mtu} type veth peer name {LINK} mtu {mtu} netns {self.client.holder.pid}"
            self.server.do(*pair.split())
            for host, address in ((self.server, SERVER), (self.client, CLIENT)):
                host.do("ip", "addr", "add", f"{address}/24", "dev", LINK)
                for name in ("lo", LINK):
                    host.do("ip", "link", "set", name, "up")
        except OSError as why:
            sys.exit(f"no network namespaces here (they want root or user namespaces, unshare, nsenter and ip): {why}")

    @staticmethod
    def _first():
        try:
            return Host(["unshare", "-n", "cat"], False)
        except OSError:
            return Host(["unshare", "-Urn", "cat"], True)


class Server:
    """`ringwire serve` on a host, for as long as the `with` block; `target` is what `ringwire bench` calls it by."""

    def __init__(self, ringwire, host, core, sealed):
        where = ["--listen", f"{SERVER}:0", "--cores", core, "--quiet"]
        command = host.inside(ringwire, "serve", *where, *([] if sealed else ["--insecure=anywhere"]))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline().split()
        if said[:2] != ["listening", "on"]:
            sys.exit(f"no server: {' '.join(command)}")
        key = ["--server-key", said[4]] if sealed else ["--insecure=anywhere"]
        self.target = [said[2], *key]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
