"""Whether wandb can be online: an account, and a server that can be reached."""

from __future__ import annotations

import netrc
import os
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies


def why_offline(settings: Any) -> str:
    """Why wandb cannot be online, or nothing: looks for an account and an open port, without a prompt, within 5 s."""
    address = urlsplit(settings.base_url)
    if not _has_account(settings, address.hostname or ""):
        return "no account is configured (wandb login)"
    proxy = urlsplit(getproxies().get(address.scheme, ""))
    host = proxy if proxy.hostname else address
    port = host.port or (443 if host.scheme == "https" else 80)
    return "" if _can_be_reached(host.hostname or "", port) else f"{host.hostname} cannot be reached"


def _has_account(settings: Any, hostname: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or getattr(settings, "api_key", None):
        return True
    if getattr(settings, "identity_token_file", None):
        return True
    try:
        path = os.environ.get("NETRC") or str(Path.home() / ".netrc")
        return bool(netrc.netrc(path).authenticators(hostname))
    except (OSError, RuntimeError, netrc.NetrcParseError):
        return False


def _can_be_reached(hostname: str, port: int) -> bool:
    reached = threading.Event()

    def connect() -> None:  # in a thread, as looking a name up knows no timeout
        try:
            socket.create_connection((hostname, port), timeout=5.0).close()
            reached.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(5.0)
    return reached.is_set()


def first_line(error: Exception) -> str:
    """An error of wandb's as one line, for a warning."""
    return f"{type(error).__name__}: {error}".strip().split("\n")[0][:200]
