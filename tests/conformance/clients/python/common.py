"""The shared code of the checks of Python clients: see ../build.sh for the arguments, the lines and the pauses."""

import os
import sys

MEMBERS, SECURE, CERTIFICATES, PREFIX = sys.argv[1:]

# The time limits of a request, in seconds, of a connection that is to be refused, and of an attempt to take a lock
# that is held.
REQUEST_WITHIN = 30
REFUSED_WITHIN = 1
BUSY_FOR = 0.2


def address(members):
    """The host and the port of the first member: these clients use one."""
    host, port = members.split(",")[0].rsplit(":", 1)
    return {"host": host, "port": int(port)}


def certificate(name):
    return os.path.join(CERTIFICATES, name)


def key(name):
    """A key of this run."""
    return PREFIX + name


def short(full):
    """The argument of key()."""
    return full.decode().removeprefix(PREFIX)


def listed(pairs):
    return " ".join(f"{short(name)}={value.decode()}" for name, value in pairs)


def event_text(kind, name, value, before):
    return f"{kind} {short(name)}={value.decode()}" + (f" was {before.decode()}" if before else "")


def say(check, outcome):
    print(f"{check}: {outcome}", flush=True)


def pause(before):
    """Waits until the test lets the program continue."""
    print(f"before {before}", flush=True)
    assert sys.stdin.readline(), "the test has ended"


def leave():
    """Ends the program at once, although threads of the client may wait for events."""
    os._exit(0)
