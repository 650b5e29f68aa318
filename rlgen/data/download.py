"""Download a known data set into the cache, verified."""

from __future__ import annotations

import copy
import hashlib
import http.client
import io
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from rlgen.data.files import UNREADABLE, archive_members, reason, unpacked
from rlgen.data.known import KNOWN
from rlgen.errors import UsageError
from rlgen.files import write_whole, writing
from rlgen.memory import Room

TIMEOUT = 20.0  # seconds without a byte before a mirror is given up
CACHE_FIX = "free space, or set XDG_CACHE_HOME"


def download(name: str, folder: Path, searched: list[Path], room: Room) -> None:
    """Fetch what a folder of the cache lacks; a file appears there whole and verified, or not at all.

    Args:
        name: of a known data set.
        folder: where its files go.
        searched: where it was looked for, for the message.
        room: memory that what is fetched has to fit in.

    Raises:
        UsageError: no mirror has the published bytes.
        DiskError: the folder cannot be written.
    """
    entry = KNOWN[name]
    while missing := [file for file in entry.sha256 if not os.path.isfile(folder / file)]:
        wanted = missing if entry.archive else missing[:1]
        failures = []
        for template in entry.urls:
            url = template.format(file=wanted[0])
            try:
                body = io.BytesIO(fetch(url, folder, room))
                spare = copy.copy(room)  # it is read again from the cache
                if entry.archive:
                    content = archive_members(body, url, entry.sha256, spare)
                else:
                    content = {wanted[0]: unpacked(body, url, spare)}
            except urllib.error.HTTPError as error:
                failures.append(f"{url}: HTTP {error.code}")
                continue
            except (*UNREADABLE, http.client.HTTPException) as error:
                failures.append(f"{url}: {reason(error)}")
                continue
            digests = {file: hashlib.sha256(content.get(file, b"")).hexdigest() for file in wanted}
            wrong = [file for file in wanted if digests[file] != entry.sha256[file]]
            if not wrong:
                with writing(folder, CACHE_FIX):
                    folder.mkdir(parents=True, exist_ok=True)
                for file in wanted:
                    write_whole(folder / file, content[file], CACHE_FIX)
                break
            expected, digest = entry.sha256[wrong[0]], digests[wrong[0]]
            failures.append(f"{url}: {wrong[0]} has sha256 {digest[:12]}.. and not {expected[:12]}..")
        else:
            files = entry.archive or ", ".join(f"{file}[.gz]" for file in missing)
            raise UsageError(
                f"{name} is not in {', '.join(map(str, searched))} and cannot be downloaded ({'; '.join(failures)}):"
                f" put {files} into {folder}, or name their folder with --data-dir"
            )


def fetch(url: str, folder: Path, room: Room) -> bytes:
    """What a URL holds; `folder` is named in the line that says so.

    Raises:
        OSError: it cannot be had whole.
        UsageError: it does not fit in memory.
    """
    from tqdm import tqdm

    print(f"downloading {url} into {folder}", file=sys.stderr, flush=True)
    request = urllib.request.Request(url, headers={"User-Agent": "rlgen", "Accept-Encoding": "identity"})
    body = bytearray()
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        room.check(url, total or 0)
        with tqdm(total=total, unit="B", unit_scale=True, disable=None, leave=False) as bar:  # None: only on a terminal
            while chunk := response.read(1 << 18):
                room.check(url, len(body) + len(chunk))
                body += chunk
                bar.update(len(chunk))
    if total is not None and len(body) != total:
        raise OSError(f"cut off after {len(body)} of {total} bytes")
    return bytes(body)
