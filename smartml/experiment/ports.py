"""Addresses and ports of this machine: which there are, which are free, and who holds one."""

import contextlib
import random
import socket
from collections.abc import Iterator, Sequence

import psutil

from smartml.errors import ArgumentValueError, PortTakenError, ServerStartError
from smartml.experiment.cluster import BUS_OFFSET, Shape

# Ports of cluster nodes, and with them those of their bus, stay below the range from which Linux gives ports to
# outgoing connections (32768 and up): there one that is free now is soon somebody's.
_CLUSTER_PORTS = range(12_768, 32_768 - BUS_OFFSET)


def interface_address(interface: str) -> str:
    """Return the IPv4 address of a network interface. Raises ArgumentValueError, which lists those there are."""
    known = {
        name: [address.address for address in addresses if address.family == socket.AF_INET]
        for name, addresses in psutil.net_if_addrs().items()
    }
    # Loopback needs no look-up, and has another name on other systems.
    if interface in ("lo", "lo0", "localhost"):
        return "127.0.0.1"
    if not known.get(interface):
        usable = ", ".join(f"{name} ({addresses[0]})" for name, addresses in sorted(known.items()) if addresses)
        why = "has no IPv4 address" if interface in known else "does not exist"
        raise ArgumentValueError(f"network interface {interface!r} {why}; there are: {usable}")
    return known[interface][0]


def interface_addresses(interface: str | Sequence[str], launcher: str) -> list[str]:
    """Return the IPv4 addresses of network interfaces; "auto" chooses one. Raises ArgumentValueError."""
    chosen = [interface] if isinstance(interface, str) else list(interface)
    if not chosen:
        raise ArgumentValueError("interface names none: give 'lo' for loopback alone, or 'auto'")
    return [interface_address(likely_interface(launcher) if name == "auto" else name) for name in chosen]


def likely_interface(launcher: str) -> str:
    """Return the interface by which other nodes most likely reach this one; loopback for the launcher "local".

    High-speed networks first: Slingshot (hsn), Aries (ipogif), InfiniBand (ib); then any other that is up.
    """
    if launcher == "local":
        return "lo"
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    usable = [
        name
        for name, addresses in sorted(psutil.net_if_addrs().items())
        if name in up and any(one.family == socket.AF_INET and not one.address.startswith("127.") for one in addresses)
    ]
    for prefix in ("hsn", "ipogif", "ib"):
        if fast := [name for name in usable if name.startswith(prefix)]:
            return fast[0]
    # What containers and virtual machines talk by reaches no other node.
    outward = [name for name in usable if not name.startswith(("docker", "virbr", "veth", "br-", "podman", "cni"))]
    return next(iter(outward or usable), "lo")


def free_port(host: str) -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def free_ports(hosts: Sequence[str], shape: Shape) -> list[int]:
    """Return a port for each server that was free a moment ago. Raises ServerStartError when there are not so many.

    Of a cluster, it was free at all the hosts, and so was that of its bus.
    """
    if not shape.is_cluster:
        return [free_port(hosts[0])]
    found: list[int] = []
    for port in random.sample(_CLUSTER_PORTS, len(_CLUSTER_PORTS)):
        if all(_is_free(host, number) for host in hosts for number in (port, port + BUS_OFFSET)):
            found.append(port)
        if len(found) == shape.size:
            return sorted(found)
    raise ServerStartError(
        f"{shape.size} nodes of a cluster need as many ports, and those {BUS_OFFSET} above: only {len(found)} from "
        f"{_CLUSTER_PORTS[0]} to {_CLUSTER_PORTS[-1]} are free: use fewer nodes, or name the first port by port="
    )


@contextlib.contextmanager
def held_port(hosts: Sequence[str], is_cluster: bool) -> Iterator[int]:
    """Keep a free port, and that of the bus of a cluster's node, from all others until the end of the block.

    Raises ServerStartError when there is none.
    """
    for port in random.sample(_CLUSTER_PORTS, len(_CLUSTER_PORTS)):
        numbers = (port, port + BUS_OFFSET) if is_cluster else (port,)
        with contextlib.ExitStack() as stack:
            try:
                for host in hosts:
                    for number in numbers:
                        stack.enter_context(socket.socket()).bind((host, number))
            except OSError:
                continue
            yield port
            return
    raise ServerStartError(f"no port from {_CLUSTER_PORTS[0]} to {_CLUSTER_PORTS[-1]} is free")


def port_holder(port: int) -> str:
    """Return in words which program listens on the port."""
    with contextlib.suppress(psutil.Error, OSError):
        for held in psutil.net_connections("tcp"):
            if held.laddr and held.laddr.port == port and held.status == psutil.CONN_LISTEN and held.pid:
                return f"pid {held.pid} ({' '.join(psutil.Process(held.pid).cmdline())[:80]})"
    return "another program"


def check_socket_is_free(path: str) -> None:
    """Raise PortTakenError when somebody listens at a unix socket: another server would take its place in silence."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise PortTakenError(f"unix socket {path} is taken by another program; stop that, or name another by unix_socket=")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
