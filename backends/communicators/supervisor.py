"""Ends all processes, with one message, when one of them dies, hangs or fails, instead of leaving the others to wait for it.

A thread of each process sends a sign of life to rank 0 every BEAT seconds, over a connection that MPI knows nothing of. What
rank 0 concludes is what all do: it prints the message, and every process ends with an exit status that is not 0.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from .communicator import Communicator

VARIABLE = "FUSEDSTEP_PARALLEL_TIMEOUT"
"""Environment variable: seconds without a sign of life, or without any work while others wait, after which all end."""
SECONDS = 6.0
BEAT = 0.5
STUCK = 600.0
"""Seconds for which processes may wait for one that works."""
IDLE = 0.02
"""CPUs that a process uses on average, below which it does not work, unless its threads wake up SWITCHES times a second."""
SWITCHES = 5.0
"""A process that reads or writes wakes up for each part; one that hangs does not."""
GRACE = 0.7
"""Seconds in which other processes may report the same failure, before it is said to be that of one alone."""
FAILED = 1
"""Exit status of processes that are ended."""
GONE = "has ended without a word (killed, or out of memory, for instance)"


class Signs:
    """What rank 0 knows of a process.

    Attributes: heard – when it last sent a sign of life; waits – the seconds for which it has been waiting for others, or None;
        exchange – what it waits for; worked – when it was last seen to do something; finished – whether it has ended as it
        should.
    """

    def __init__(self) -> None:
        self.heard = self.worked = time.monotonic()
        self.waits: float | None = None
        self.exchange = ""
        self.finished = False
        self._looked = self.heard, 0.0, 0

    def note(self, waits: float | None, exchange: str, cpu: float, switches: int, at_work: bool) -> None:
        """Notes a sign of life.

        Args: waits, exchange – see above; cpu – seconds of CPU time since the process began; switches – how often its threads
            have waited for something since then; at_work – whether it does something for all, see Communicator.
        """
        now = time.monotonic()
        before, used, switched = self._looked
        if now - before > 2.0 * BEAT:
            if at_work or cpu - used > IDLE * (now - before) or switches - switched > SWITCHES * (now - before):
                self.worked = now
            self._looked = now, cpu, switches
        self.heard, self.waits, self.exchange = now, waits, exchange


class Failure(NamedTuple):
    """Why a process cannot go on: one line, more for whoever has to find out, and the exit status that it asks for."""

    text: str
    details: str = ""
    status: int = FAILED


class Supervisor:
    """The thread of this process; `fail` tells the others that it cannot go on.

    Args: communicator – of this process; gather – gives the values of all processes, by rank.
    """

    def __init__(self, communicator: Communicator, gather: Callable[[Any], list[Any]]) -> None:
        self._communicator = communicator
        self._limit = _seconds()
        self._closed = threading.Event()
        self._parted = threading.Event()
        self._lock = threading.Lock()
        self._failures: dict[int, Failure] = {}
        self._failed_at = 0.0
        self._pid = os.getpid()
        rank, size = communicator.rank, communicator.size
        self._signs = {other: Signs() for other in range(size)}
        if size == 1:
            return
        listening = socket.create_server(("", 0), backlog=size) if rank == 0 else None
        offered = None if listening is None else (_addresses(), listening.getsockname()[1], secrets.token_hex(16))
        addresses, port, token = gather(offered)[0]
        if listening is not None:
            connections = _accepted(listening, size, token)
            gather(None)
            work = lambda: self._lead(connections)  # noqa: E731
        else:
            connection = _connected(addresses, port, token, rank)
            gather(None)
            work = lambda: self._follow(connection)  # noqa: E731
        self._thread = threading.Thread(target=work, name="fusedstep supervisor", daemon=True)
        self._thread.start()
        self._except = sys.excepthook
        sys.excepthook = self._excepthook
        atexit.register(self.close)

    def fail(self, text: str, details: str = "", status: int = FAILED) -> None:
        """Tells all processes that this one cannot go on, and ends with them; the arguments are those of Failure."""
        if self._communicator.size == 1 or self._closed.is_set() or os.getpid() != self._pid:
            return
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        with self._lock:
            self._failures.setdefault(self._communicator.rank, Failure(text, details, status))
        time.sleep(self._limit + 5.0)  # the thread ends the process before
        os._exit(status)

    def close(self) -> None:
        """Says goodbye: this process ends as it should. Rank 0 gives the others signs of life until they end, too."""
        if self._communicator.size > 1 and os.getpid() == self._pid and not self._closed.is_set():
            self._closed.set()
            while self._thread.is_alive() and not self._parted.wait(BEAT):
                pass

    def _excepthook(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """What Python calls for an exception that ends the program."""
        if os.getpid() != self._pid:
            self._except(kind, error, trace)
            return
        text = " ".join(f"{kind.__name__}: {error}".split())
        self.fail(text, "".join(traceback.format_exception(kind, error, trace)))

    def _own_signs(self) -> tuple[float | None, str, float, int, bool]:
        since, exchange = self._communicator.waits_for or (None, "")
        waits = None if since is None else time.monotonic() - since
        return waits, exchange, time.process_time(), _switches(), self._communicator.at_work

    # Rank 0

    def _lead(self, connections: dict[int, socket.socket]) -> None:
        """Collects signs of life and failures, and decides."""
        waiting, buffers = selectors.DefaultSelector(), dict.fromkeys(connections, b"")
        for rank, connection in connections.items():
            connection.setblocking(False)
            waiting.register(connection, selectors.EVENT_READ, rank)
        sent = 0.0
        while True:
            for key, _ in waiting.select(0.5 * BEAT):
                rank = key.data
                try:
                    got = connections[rank].recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    got = b""
                if not got:
                    waiting.unregister(connections[rank])
                    if not self._signs[rank].finished:
                        self._note_failure(rank, GONE)
                        # Without GRACE: the launcher, and MPI over TCP, are about to end this process as well.
                        self._failed_at = -GRACE
                    continue
                *lines, buffers[rank] = (buffers[rank] + got).split(b"\n")
                for line in lines:
                    self._hear(rank, json.loads(line))
            self._signs[0].note(*self._own_signs())
            self._signs[0].finished = self._closed.is_set()
            with self._lock:
                if self._failures and not self._failed_at:
                    self._failed_at = time.monotonic()
            if time.monotonic() - sent > BEAT:
                sent = time.monotonic()
                _send_all(connections, {"beat": 1})
            self._look()
            if self._failed_at and (
                time.monotonic() - self._failed_at > GRACE or len(self._failures) == self._communicator.size
            ):
                self._end(connections)
            if all(signs.finished for signs in self._signs.values()):
                _send_all(connections, {"bye": 1})
                self._parted.set()
                return

    def _hear(self, rank: int, message: dict[str, Any]) -> None:
        signs = self._signs[rank]
        if "beat" in message:
            signs.note(*message["beat"])
        if message.get("bye"):
            signs.finished = True
        if "failed" in message:
            self._note_failure(rank, *message["failed"])

    def _note_failure(self, rank: int, *failure: Any) -> None:
        with self._lock:
            self._failures.setdefault(rank, Failure(*failure))
            self._failed_at = self._failed_at or time.monotonic()

    def _look(self) -> None:
        """Finds processes that are silent, or that others wait for in vain."""
        now = time.monotonic()
        longest = max((signs.waits for signs in self._signs.values() if signs.waits is not None), default=0.0)
        for rank, signs in self._signs.items():
            if signs.finished:
                if longest > self._limit:
                    self._note_failure(rank, f"has finished, but others have been waiting for it for {longest:.0f} seconds")
            elif now - signs.heard > self._limit:
                self._note_failure(rank, f"has given no sign of life for {now - signs.heard:.0f} seconds")
            elif signs.waits is None and longest > self._limit and now - signs.worked > self._limit:
                idle = now - signs.worked
                self._note_failure(rank, f"has done nothing for {idle:.0f} seconds, while others wait for it")
            elif signs.waits is None and longest > STUCK:
                self._note_failure(rank, f"has kept others waiting for {longest:.0f} seconds")
        if all(signs.waits is not None and signs.waits > self._limit for signs in self._signs.values()):
            first = self._signs[0].exchange
            for rank, signs in self._signs.items():
                if signs.exchange != first:
                    self._note_failure(
                        rank, f"has come to {signs.exchange}, and rank 0 to {first}: all must run the same program on the same "
                        "data and settings"
                    )

    def _end(self, connections: dict[int, socket.socket]) -> None:
        """Prints what happened, once, and ends all processes."""
        with self._lock:
            failures = dict(self._failures)
        same = len(failures) == self._communicator.size and len({failure.text for failure in failures.values()}) == 1
        rank, (text, details, status) = min(failures.items())
        where = "" if same else f"{self._communicator.place(rank)} "
        print(f"{details.rstrip()}\n" if details else "", end="", file=sys.stderr)
        joint = "" if not where or text.startswith("has ") else "failed: "
        ending = "" if same else "; all processes end"
        print(f"error: {where}{joint}{text}{ending}", file=sys.stderr, flush=True)
        _send_all(connections, {"end": status})
        time.sleep(0.2)
        os._exit(status)

    # Other ranks

    def _follow(self, connection: socket.socket) -> None:
        """Sends signs of life, and ends the process when rank 0 says so or is gone."""
        connection.settimeout(0.5 * BEAT)
        heard, sent, rest, gone = time.monotonic(), 0.0, b"", ""
        while True:
            try:
                got = connection.recv(65536)
                gone = "" if got else GONE
            except TimeoutError:
                got = b""
            except ConnectionResetError:  # by its host, as it had not read all
                got, gone = b"", GONE
            except OSError as error:
                got, gone = b"", f"cannot be reached ({error})"
            if got:
                heard = time.monotonic()
                *lines, rest = (rest + got).split(b"\n")
                messages = [json.loads(line) for line in lines]
                for message in messages:
                    if "end" in message:
                        os._exit(message["end"])
                if any("bye" in message for message in messages):
                    return
            if not gone and time.monotonic() - heard > self._limit:
                gone = f"has given no sign of life for {time.monotonic() - heard:.0f} seconds"
            if gone and self._closed.is_set():
                return
            if gone:
                self._end_without_first(gone)
            saying: dict[str, Any] = {"beat": self._own_signs()}
            with self._lock:
                if self._failures:
                    saying["failed"] = next(iter(self._failures.values()))
            if self._closed.is_set():
                saying["bye"] = 1
            if len(saying) == 1 and time.monotonic() - sent < BEAT:
                continue
            sent = time.monotonic()
            with suppress(OSError):
                connection.sendall(json.dumps(saying).encode() + b"\n")
                if self._closed.is_set():
                    self._parted.set()

    def _end_without_first(self, gone: str) -> None:
        """Rank 0 is gone: rank 1 says so, another one only if nobody has ended it a second later."""
        rank = self._communicator.rank
        time.sleep(min(3.0, rank - 1.0))
        print(f"error: {self._communicator.place(0)} {gone}; all processes end", file=sys.stderr, flush=True)
        os._exit(FAILED)


def _switches() -> int:
    """How often threads of this process other than the calling one have waited for something; 0 where nobody counts."""
    try:
        import resource

        own = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw if hasattr(resource, "RUSAGE_THREAD") else 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - own
    except ImportError:  # on Windows
        return 0


def _seconds() -> float:
    try:
        return max(2.0 * BEAT, float(os.environ.get(VARIABLE, SECONDS)))
    except ValueError:
        return SECONDS


def _send_all(connections: dict[int, socket.socket], message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    for connection in connections.values():
        with suppress(OSError):
            connection.send(line)


def _accepted(listening: socket.socket, size: int, token: str) -> dict[int, socket.socket]:
    """The connections of all other ranks; whoever does not know the token is sent away."""
    connections: dict[int, socket.socket] = {}
    listening.settimeout(60.0)
    with listening:
        while len(connections) < size - 1:
            connection, _ = listening.accept()
            connection.settimeout(10.0)
            with suppress(OSError, ValueError):
                greeting = json.loads(connection.makefile().readline())
                if secrets.compare_digest(str(greeting["token"]), token):
                    connection.sendall(b"+")
                    connections[int(greeting["rank"])] = connection
                    continue
            connection.close()
    return connections


def _connected(addresses: list[str], port: int, token: str, rank: int) -> socket.socket:
    """A connection to rank 0, at the first of its addresses that answers."""
    refused = ""
    for address in addresses:
        try:
            connection = socket.create_connection((address, port), timeout=5.0)
            connection.sendall(json.dumps({"token": token, "rank": rank}).encode() + b"\n")
            if connection.recv(1):
                return connection
        except OSError as error:
            refused = f"{address}: {error}"
    print(f"error: rank {rank} on {socket.gethostname()} cannot reach rank 0 over TCP ({refused})", file=sys.stderr, flush=True)
    os._exit(FAILED)


def _addresses() -> list[str]:
    """The IPv4 addresses of this host, the loopback last; a name in front of them where they cannot be listed."""
    found = []
    try:
        import fcntl
        import struct

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, name in socket.if_nameindex():
                with suppress(OSError):
                    request = struct.pack("256s", name.encode()[:15])
                    found.append(socket.inet_ntoa(fcntl.ioctl(probe.fileno(), 0x8915, request)[20:24]))  # SIOCGIFADDR
    except (ImportError, OSError):
        found.append(socket.gethostname())
    return sorted(found or ["127.0.0.1"], key=lambda address: address.startswith("127."))
