"""Where the machines of one run meet, and by which of its addresses this machine is reached.

PyTorch asks what the machine's own name resolves to, which on many is 127.0.1.1: then no machine
takes itself for the first, or the others are told to come to themselves.
"""

import errno
import fcntl
import socket
import struct

_SIOCGIFADDR = 0x8915  # from Linux's ioctls.h: an interface's IPv4 address


def is_here(host: str) -> bool:
    """Return whether an address is one of this machine's."""
    address = socket.gethostbyname(host)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def own_address(host: str) -> str:
    """Return the address from which this machine reaches a host; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])


def interface(address: str) -> str | None:
    """Return the name of the network interface that has an address, None if it is not found."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                told = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(told[20:24]) == address:
                return name
    return None
