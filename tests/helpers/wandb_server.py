"""A stub of the wandb server on 127.0.0.1: what the real wandb library says to it, it keeps for a test to look at.

It answers the GraphQL operations that wandb-core and `wandb.Api` send in these tests, the file stream, and uploads by
the addresses that it gave out. It says yes to whatever is well-formed: no quotas, rights, schema or size limits, no
summaries of its own, no history in Parquet files, no sampling, and none of the features that a server may announce.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"  # 40 hex digits, as an account's key


class Server(ThreadingHTTPServer):
    """What arrived: `runs` and `artifacts` by id, `alerts`, `views`, the names of all operations, the raw bodies.

    `fault` is called with every request's operation, or its address, before it is answered: it may sleep, return a
    status to be sent instead of an answer, or call `stop`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.key = KEY
        self.runs: dict[str, SimpleNamespace] = {}
        self.artifacts: dict[str, SimpleNamespace] = {}
        self.stored: dict[str, bytes] = {}  # uploads by the last part of their address
        self.alerts: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        self.unknown: list[str] = []
        self.fault: Callable[[str], int | None] = lambda what: None
        self.stopped = False
        self.lock = threading.RLock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Go away as a server does whose machine stops: no port, no answer on connections that are open."""
        if not self.stopped:
            self.stopped = True
            threading.Thread(target=lambda: (self.shutdown(), self.server_close()), daemon=True).start()

    def wait(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        """What the condition gives as soon as it is true; an assertion if it stays false."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, (self.seen, self.unknown)
            time.sleep(0.02)
        return found

    def rows(self, run: SimpleNamespace) -> list[dict[str, Any]]:
        return [run.history[at] for at in sorted(run.history)]

    def files(self, artifact: SimpleNamespace) -> dict[str, bytes]:
        """An artifact's files as its manifest names them; an assertion where the digests are others."""
        manifest = json.loads(self.stored[artifact.manifest])
        found = {name: self.stored[f"md5-{entry['digest']}"] for name, entry in manifest["contents"].items()}
        for name, entry in manifest["contents"].items():
            assert len(found[name]) == entry["size"] and digest(found[name]) == entry["digest"], name
        return found

    request_queue_size = 128  # wandb-core opens as many connections as it has files

    def handle_error(self, *_: Any) -> None:
        """Nothing to say: clients drop connections, which is their right."""

    # answers, named as the operations are

    def Viewer(self, **_: Any) -> Any:
        teams = {"edges": [{"node": {"name": "lab"}}]}
        user = {"id": "VXNlcg==", "entity": "lab", "username": "me", "name": "me", "email": "me@lab.example"}
        return {"viewer": user | {"flags": "{}", "teams": teams, "admin": False, "apiKeys": {"edges": []}}}

    GetDefaultEntity = GetViewer = Viewer

    def ServerFeaturesQuery(self, **_: Any) -> Any:
        return {"serverInfo": {"features": []}}

    def RunResumeStatus(self, project: str, entity: str, name: str) -> Any:
        run = self.runs.get(name)
        return {"model": {"id": "P", "name": project, "entity": ENTITY, "bucket": run and self._bucket(run)}}

    def UpsertBucket(self, **given: Any) -> Any:
        name, inserted = given["name"], given["name"] not in self.runs
        if inserted:
            fresh = {"history": {}, "events": {}, "summary": {}, "files": {}, "streams": {}, "config": {}}
            self.runs[name] = SimpleNamespace(id=name, state="running", exitcode=None, upserts=[], **fresh)
        run = self.runs[name]
        run.upserts.append(given)
        if given.get("config"):
            run.config = json.loads(given["config"])
        for key in ("project", "displayName", "groupName", "jobType", "tags", "host", "program", "commit", "repo"):
            setattr(run, key, given[key] if given.get(key) is not None else getattr(run, key, None))
        run.state = given.get("state") or "running"
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def _bucket(self, run: SimpleNamespace) -> dict[str, Any]:
        rows, events = self.rows(run), [run.events[at] for at in sorted(run.events)]
        begun = {"t": run.config.get("_wandb", {}).get("value", {}).get("t")}
        return {
            **{"id": f"gid-{run.id}", "name": run.id, "displayName": run.displayName, "tags": run.tags, "notes": None},
            **{
                "description": None,
                "sweepName": None,
                "config": json.dumps(run.config),
                "wandbConfig": json.dumps(begun),
            },
            **{"project": {"id": "P", "name": run.project, "entity": ENTITY}, "logLineCount": 0},
            **{"summaryMetrics": json.dumps(run.summary), "historyLineCount": len(rows)},
            **{"eventsLineCount": len(events), "eventsTail": json.dumps([json.dumps(row) for row in events[-1:]])},
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
        }

    def CreateRunFiles(self, entity: str, project: str, run: str, files: list[str]) -> Any:
        given = [{"name": name, "uploadUrl": f"{self.address}/storage/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": f"gid-{run}", "uploadHeaders": [], "files": given}}

    def MarkRunFilesUploaded(self, **_: Any) -> Any:
        return {"markRunFilesUploaded": {"success": True}}

    def NotifyScriptableRunAlert(self, **given: Any) -> Any:
        self.alerts.append(given)
        return {"notifyScriptableRunAlert": {"success": True}}

    def ArtifactType(self, name: str, **_: Any) -> Any:
        found = [each for each in self.artifacts.values() if each.name == name.partition(":")[0]]
        artifact = {"artifactType": {"name": found[-1].kind}} if found else None
        return {"project": {"artifact": artifact}}

    def CreateArtifact(self, **input: Any) -> Any:
        names = [each["artifactCollectionName"] for each in input.get("aliases") or []]
        name = input.get("artifactCollectionName") or (input.get("artifactCollectionNames") or names)[0]
        older = [each for each in self.artifacts.values() if each.name == name and each.state == "COMMITTED"]
        same = [each for each in older if each.digest == input["digest"]]
        aliases = [each["alias"] for each in input.get("aliases") or []]
        if same:  # no new version, but the aliases go to it
            same[0].aliases += aliases
        made = same[0] if same else SimpleNamespace(id=f"artifact-{len(self.artifacts)}", name=name, state="PENDING")
        if not same:
            made.kind, made.run, made.digest = input["artifactTypeName"], input.get("runName"), input["digest"]
            made.metadata, made.aliases, made.manifest = json.loads(input.get("metadata") or "{}"), aliases, ""
            self.artifacts[made.id] = made
        latest = {"latestArtifact": {"id": older[-1].id} if older else None}
        return {"createArtifact": {"artifact": {"id": made.id, "state": made.state, "artifactSequence": latest}}}

    def CreateArtifactManifest(self, artifactID: str, **_: Any) -> Any:
        return self._manifest("createArtifactManifest", f"manifest-{artifactID}")

    def UpdateArtifactManifest(self, artifactManifestID: str, **_: Any) -> Any:
        return self._manifest("updateArtifactManifest", artifactManifestID)

    def _manifest(self, field: str, name: str) -> Any:
        self.artifacts[name.removeprefix("manifest-")].manifest = name
        file = {"id": f"file-{name}", "uploadUrl": f"{self.address}/storage/{name}", "uploadHeaders": []}
        return {field: {"artifactManifest": {"id": name, "file": file}}}

    def CreateArtifactFiles(self, artifactFiles: list[dict[str, Any]], **_: Any) -> Any:
        nodes = []
        for file in artifactFiles:
            name, artifact = f"md5-{file['md5']}", {"id": file["artifactID"]}
            address = None if name in self.stored else f"{self.address}/storage/{name}"  # it has these bytes
            node = {"storagePath": name, "uploadUrl": address, "uploadHeaders": [], "uploadMultipartUrls": None}
            nodes.append({"node": node | {"artifact": artifact}})
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def CommitArtifact(self, artifactID: str) -> Any:
        artifact = self.artifacts[artifactID]
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": artifact.digest}}}

    def Runs(self, project: str, filters: str, **_: Any) -> Any:
        found = [run for run in self.runs.values() if run.project == project]
        if not found:
            return {"project": None}
        found = [run for run in found if matches(json.loads(filters), run)]
        edges = [{"node": self._listed(run), "cursor": run.id} for run in found]
        page = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": page}}

    def _listed(self, run: SimpleNamespace) -> dict[str, Any]:
        rows = self.rows(run)
        keys = {key: {"typeCounts": [{"type": "number"}]} for row in rows for key in row}
        own = {"state": run.state, "group": run.groupName, "jobType": run.jobType, "commit": run.commit}
        when = {"createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00"}
        last = max((row["_step"] for row in rows), default=-1)
        more = {"readOnly": False, "systemMetrics": "{}", "user": {"name": "me", "username": "me"}, "projectId": "1"}
        return self._bucket(run) | own | when | more | {"historyKeys": {"keys": keys, "lastStep": last}}

    def RunHistoryKeys(self, name: str, **_: Any) -> Any:
        return {"project": {"run": self._listed(self.runs[name])}}

    def RunParquetHistory(self, **_: Any) -> Any:
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": None}}}}

    def HistoryPage(self, run: str, minStep: int, maxStep: int, pageSize: int, **_: Any) -> Any:
        rows = [row for row in self.rows(self.runs[run]) if minStep <= row["_step"] < maxStep]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows[:pageSize]]}}}

    def SampledHistoryPage(self, run: str, spec: str, **_: Any) -> Any:
        """Rows that hold every key, and of them those keys, the last step included: it asks for as many samples."""
        asked = json.loads(spec)
        rows = [row for row in self.rows(self.runs[run]) if asked["minStep"] <= row["_step"] <= asked["maxStep"]]
        rows = [{key: row[key] for key in asked["keys"]} for row in rows if all(key in row for key in asked["keys"])]
        assert len(rows) <= asked["samples"]
        return {"project": {"run": {"sampledHistory": [rows]}}}

    def UpsertView2(self, **given: Any) -> Any:
        self.views.append(given)
        return {"upsertView": {"view": {"id": f"view-{len(self.views)}", "name": given["name"]}, "inserted": True}}

    def stream(self, name: str, given: dict[str, Any]) -> None:
        """Lines of a run's files, each with the number of its first line."""
        run = self.runs[name]
        for file, chunk in (given.get("files") or {}).items():
            if file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
                continue
            kept = {"wandb-history.jsonl": run.history, "wandb-events.jsonl": run.events}.get(file)
            for number, line in enumerate(chunk["content"], chunk["offset"]):
                if kept is None:
                    run.streams.setdefault(file, {})[number] = line
                else:
                    kept[number] = json.loads(line)
        if given.get("complete"):
            run.exitcode = given["exitcode"]
            run.state = "failed" if run.exitcode else "finished"


ENTITY = {"id": "E", "name": "lab"}


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        given = json.loads(body or b"{}")
        if self.path == "/graphql":
            named = re.search(r"(?:query|mutation)\s+(\w+)", given["query"])
            field = re.search(r"{\s*(\w+)", given["query"])  # of one without a name: `query { viewer { id } }`
            self._answer(named[1] if named else field[1].capitalize() if field else given["query"], given)
        else:
            self._answer(self.path, given)

    def do_PUT(self) -> None:
        body = self._body()
        if body is None:
            return
        name = self.path.removeprefix("/storage/")
        with self.server.lock:
            self.server.stored[name] = body
            run, _, file = name.partition("/")
            if run in self.server.runs:
                self.server.runs[run].files[file] = body
        self._answer(self.path, None)

    def do_GET(self) -> None:
        self._answer(self.path, None)

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "gzip" in self.headers.get("Content-Encoding", ""):
            body = gzip.decompress(body)
        self.server.bodies.append(body)
        return body

    def _answer(self, what: str, given: dict[str, Any] | None) -> None:
        server = self.server
        server.seen.append(what)
        status = server.fault(what)
        if server.stopped:
            self.close_connection = True
            self.connection.close()
            return
        user = self.headers.get("Authorization", "")
        if not status and not self.path.startswith("/storage/") and user != basic(server.key):
            status = 401
        answer: Any = {}
        if not status:
            with server.lock:
                if self.path == "/graphql":
                    variables = (given or {}).get("variables") or {}
                    try:  # some versions have all variables of a mutation in one, `input`
                        answer = {"data": getattr(server, what)(**variables.get("input", variables))}
                    except Exception as error:
                        server.unknown.append(f"{error!r} {json.dumps(given)}")
                        answer = {"data": None, "errors": [{"message": f"the stub does not know {what}"}]}
                elif self.path.endswith("/file_stream"):
                    server.stream(self.path.split("/")[-2], given or {})
        text = json.dumps(answer).encode()
        self.send_response(status or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"api:{key}".encode()).decode()


def digest(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def matches(condition: dict[str, Any], run: SimpleNamespace) -> bool:
    """The part of the filters that `rlgen.compare.wandb_runs` writes: $and, $or and $in."""
    for key, value in condition.items():
        if key in ("$and", "$or"):
            if not (all if key == "$and" else any)(matches(each, run) for each in value):
                return False
            continue
        own = {"tags": run.tags, "state": run.state, "group": run.groupName, "displayName": run.displayName}
        own |= {"name": run.id, "username": "me"}
        actual = run.config.get(key[7:], {}).get("value") if key.startswith("config.") else own[key]
        if not any(each in value["$in"] for each in (actual if isinstance(actual, list) else [actual])):
            return False
    return True
