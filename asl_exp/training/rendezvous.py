"""Rendezvous address of a multi-node run, and by which of its addresses this machine is reached.

PyTorch asks what the machine's own name resolves to, which on many is 127.0.1.1: then no machine
takes itself for the first, or the others are told to come to themselves. Under SLURM the names of
the job's machines and each one's number are in the environment.
"""

import errno
import fcntl
import functools
import os
import socket
import struct
import subprocess

from asl_exp.config.errors import UserError
from asl_exp.config.schema import TrainerConfig

_SIOCGIFADDR = 0x8915  # from Linux's ioctls.h: an interface's IPv4 address


def rendezvous_address(trainer: TrainerConfig) -> str | None:
    """Return host:port as configured, or on the first machine of a SLURM job; None for one."""
    if trainer.num_nodes == 1:
        return None
    if trainer.rendezvous:
        return trainer.rendezvous
    port = 20_000 + int(os.environ["SLURM_JOB_ID"]) % 20_000  # one job, one port
    return f"{_slurm_hosts(os.environ['SLURM_JOB_NODELIST'])[0]}:{port}"


def is_first(trainer: TrainerConfig) -> bool:
    """Return whether this is the machine that has rank 0, the run folder and the record."""
    if trainer.num_nodes == 1:
        return True
    if trainer.rendezvous:
        return is_here(trainer.rendezvous.rpartition(":")[0])
    return os.environ.get("SLURM_PROCID", "0") == "0"  # one task a machine


def address_for_others(trainer: TrainerConfig) -> str:
    """Return the address by which the other machines reach this one."""
    if trainer.num_nodes == 1:
        return "127.0.0.1"
    if trainer.rendezvous:
        return own_address(trainer.rendezvous.rpartition(":")[0])
    hosts = _slurm_hosts(os.environ["SLURM_JOB_NODELIST"])
    # What the first machine's own name resolves to may be good for itself alone.
    return own_address(hosts[-1] if is_first(trainer) else hosts[0])


@functools.cache
def _slurm_hosts(nodes: str) -> list[str]:
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def is_here(host: str) -> bool:
    """Return whether an address is one of this machine's."""
    address = _resolved(host)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise UserError(
            f"trainer.rendezvous: no machine is known by the name '{host}' "
            f"({error.strerror or error}); give the address of the first machine, host:port"
        ) from None


def own_address(host: str) -> str:
    """Return the address from which this machine reaches a host; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((_resolved(host), 9))
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
