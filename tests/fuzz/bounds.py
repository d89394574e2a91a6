"""Limits of time and memory, and inputs made by damaging good ones."""

import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hypothesis import strategies as st

from tests.tally import count

SECONDS = 20  # for one input; a hang, not a slow machine


class HangError(BaseException):
    """An input took too long. No Exception, or a reader would turn it into an error of its own."""


@contextmanager
def memory(extra: int) -> Iterator[None]:
    """Lets this process have so many bytes of address space more than it has now."""
    with open("/proc/self/status") as file:
        now = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmSize"))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Tried:
    """An input: accepted, unless it is marked as refused."""

    refused = False


@contextmanager
def bounded(name: str) -> Iterator[Tried]:
    """Counts an input and how it ended, and stops a reader that hangs on it."""
    tried, ended = Tried(), "wrong"
    count(name, "inputs")

    def stop(number, frame):
        raise HangError(f"{name}: no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield tried
        ended = "refused" if tried.refused else "accepted"
    except MemoryError as error:
        raise AssertionError(f"{name}: more than a gigabyte") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        count(name, ended)


@st.composite
def damaged(draw, wholes: Sequence[bytes], pieces: Sequence[bytes] = ()) -> bytes:
    """A good file after a few accidents: bytes changed, cut out, put in, repeated, cut off."""
    data = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(0, 5))):
        place = draw(st.integers(0, len(data)))
        end = min(len(data), place + draw(st.integers(0, 40)))
        piece = draw(st.one_of(st.sampled_from([*pieces, b""]), st.binary(max_size=12)))
        kind = draw(st.sampled_from(["change", "take out", "put in", "repeat", "cut off"]))
        if kind == "change":
            data[place : place + len(piece)] = piece
        elif kind == "take out":
            del data[place:end]
        elif kind == "put in":
            data[place:place] = piece
        elif kind == "repeat":
            data[place:place] = data[place:end] * draw(st.integers(1, 3))
        else:
            del data[place:]
    return bytes(data)
