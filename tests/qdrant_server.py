"""
A Qdrant server for tests, on loopback: Qdrant's own core, qdrant-edge-py, behind the few routes that we use.

What stores, filters, counts, ranks and makes the idf is the core that the server is built around, so a test on it
says something about a server. What is ours, and says nothing: the translation of HTTP to the core, and the
collections' metadata, kept here in a JSON file, as the core is one shard and knows no collections. There is no
cluster, no second shard, no optimizer that runs by itself, and no strict mode.

Run as a program, it serves a folder until it is killed: `python -m tests.qdrant_server FOLDER`.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import qdrant_edge as edge

Json = dict[str, Any]


class Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class Core:
    """The collections of a folder, each a shard of the core, with what it is told over HTTP."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, edge.EdgeShard] = {}
        self._lock = threading.RLock()
        self.version = "1.16.0"
        for path in folder.glob("*.json"):
            self._shards[path.stem] = edge.EdgeShard.load(str(folder / path.stem))

    def close(self) -> None:
        """Close the shards."""
        for shard in self._shards.values():
            shard.close()

    def answer(self, method: str, path: str, body: Any) -> Any:
        """The result of a request."""
        if path == "/":
            return None
        found = re.fullmatch(r"/collections/([^/]+)(/.*)?", path)
        assert found, path
        name, verb = unquote(found[1]), found[2] or ""
        with self._lock:
            if verb == "/exists":
                return {"exists": name in self._shards}
            if (method, verb) == ("PUT", ""):
                return self._create(name, body)
            if name not in self._shards:
                raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
            return getattr(self, f"_{method}{verb.replace('/', '_')}".lower())(name, self._shards[name], body)

    def _create(self, name: str, body: Json) -> bool:
        if name in self._shards:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        sparse = {
            key: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if one.get("modifier") == "idf" else None)
            for key, one in (body.get("sparse_vectors") or {}).items()
        }
        config = edge.EdgeConfig(sparse_vectors=sparse or {"other": edge.EdgeSparseVectorParams()})
        self._shards[name] = edge.EdgeShard.create(str(self._folder / name), config)
        self._keep(name, {"sparse": body.get("sparse_vectors"), "metadata": body.get("metadata")})
        return True

    def _keep(self, name: str, kept: Json) -> None:
        (self._folder / f"{name}.json").write_text(json.dumps(kept))

    def _kept(self, name: str) -> Json:
        return dict(json.loads((self._folder / f"{name}.json").read_text()))

    def _get(self, name: str, shard: edge.EdgeShard, _: Any) -> Json:
        kept, info = self._kept(name), shard.info()
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": info.segments_count,
            "points_count": info.points_count,
            "indexed_vectors_count": info.indexed_vectors_count,
            "payload_schema": {},
            "config": {
                "params": {"sparse_vectors": kept["sparse"]},
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
                "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 5},
                "metadata": kept["metadata"],
            },
        }

    def _patch(self, name: str, _: edge.EdgeShard, body: Json) -> bool:
        kept = self._kept(name)
        self._keep(name, kept | {"metadata": (kept["metadata"] or {}) | (body.get("metadata") or {})})
        return True

    def _delete(self, name: str, shard: edge.EdgeShard, _: Any) -> bool:
        shard.close()
        del self._shards[name]
        (self._folder / f"{name}.json").unlink()
        (self._folder / name).rename(self._folder / f"gone-{name}-{len(list(self._folder.iterdir()))}")
        return True

    def _put_index(self, _: str, shard: edge.EdgeShard, body: Json) -> Json:
        kind = getattr(edge.PayloadSchemaType, body["field_schema"].capitalize())
        shard.update(edge.UpdateOperation.create_field_index(body["field_name"], kind))
        return DONE

    def _put_points(self, _: str, shard: edge.EdgeShard, body: Json) -> Json:
        points = [
            edge.Point(
                one["id"],
                {key: edge.SparseVector(value["indices"], value["values"]) for key, value in one["vector"].items()},
                one["payload"],
            )
            for one in body["points"]
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))
        return DONE

    def _post_points_delete(self, _: str, shard: edge.EdgeShard, body: Json) -> Json:
        shard.update(edge.UpdateOperation.delete_points_by_filter(_filter(body["filter"])))
        return DONE

    def _post_points_count(self, _: str, shard: edge.EdgeShard, body: Json) -> Json:
        return {"count": shard.count(edge.CountRequest(exact=body["exact"], filter=_filter(body.get("filter"))))}

    def _post_facet(self, _: str, shard: edge.EdgeShard, body: Json) -> Json:
        asked = edge.FacetRequest(
            body["key"], limit=body["limit"], exact=body["exact"], filter=_filter(body.get("filter"))
        )
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in shard.facet(asked)]}

    def _post_points_scroll(self, _: str, shard: edge.EdgeShard, body: Json) -> Json:
        asked = edge.ScrollRequest(
            offset=body.get("offset"),
            limit=body["limit"],
            filter=_filter(body.get("filter")),
            with_payload=body["with_payload"],
            with_vector=body["with_vector"],
        )
        points, after = shard.scroll(asked)
        return {
            "points": [{"id": _id(one.id), "payload": one.payload} for one in points],
            "next_page_offset": None if after is None else _id(after),
        }

    def _post_points_query_batch(self, _: str, shard: edge.EdgeShard, body: Json) -> list[Json]:
        return [{"points": self._queried(shard, one)} for one in body["searches"]]

    def _queried(self, shard: edge.EdgeShard, asked: Json) -> list[Json]:
        vector = asked["query"].get("nearest", asked["query"])
        if len(set(vector["indices"])) != len(vector["indices"]):
            raise Refused(422, "Validation error: indices must be unique")  # as a server says
        found = shard.query(
            edge.QueryRequest(
                limit=asked["limit"],
                query=edge.Query.Nearest(edge.SparseVector(vector["indices"], vector["values"]), using=asked["using"]),
                filter=_filter(asked.get("filter")),
                with_payload=asked.get("with_payload"),
                with_vector=asked.get("with_vector"),
            )
        )
        return [
            {
                "id": _id(one.id),
                "version": one.version,
                "score": one.score,
                "payload": one.payload,
                "vector": {key: {"indices": it.indices, "values": it.values} for key, it in one.vector.items()}
                if one.vector
                else None,
            }
            for one in found
        ]


DONE = {"operation_id": 1, "status": "completed"}


def _id(one: Any) -> int | str:
    return one if isinstance(one, int) else str(one)


def _filter(asked: Json | None) -> Any:
    if not asked:
        return None
    return edge.Filter(**{key: [_condition(one) for one in asked[key]] for key in asked if asked[key]})


def _condition(asked: Json) -> Any:
    if "is_empty" in asked:
        return edge.IsEmptyCondition(asked["is_empty"]["key"])
    match = asked["match"]
    return edge.FieldCondition(
        asked["key"], match=edge.MatchAny(match["any"]) if "any" in match else edge.MatchValue(match["value"])
    )


class QdrantDouble:
    """
    The server, while it runs.

    Args:
        folder: what it keeps; another one may go on with it later.
        port: where it listens; 0: anywhere.

    Attributes:
        url: where it listens.
        core: what answers.
        requests: method, path and body of every request.
        on_request: called before each with method and path; may raise `Refused`, or cut with ConnectionError.
        api_key: what must come with each request; None: nothing.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.core = Core(folder)
        self.requests: list[tuple[str, str, Any]] = []
        self.on_request: Callable[[str, str], None] = lambda method, path: None
        self.api_key: str | None = None
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_all(self) -> None:
                path = urlsplit(self.path).path
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(raw) if raw else None
                double.requests.append((self.command, path, body))
                status, answer = 200, None
                try:
                    if double.api_key and self.headers.get("api-key") != double.api_key:
                        raise Refused(401, "Must provide an API key or an Authorization bearer token")
                    double.on_request(self.command, path)
                    answer = {"result": double.core.answer(self.command, path, body), "status": "ok", "time": 0.0}
                except Refused as error:
                    status, answer = error.status, {"status": {"error": str(error)}, "time": 0.0}
                except ConnectionError:
                    self.close_connection = True
                    return
                if path == "/" and status == 200:
                    answer = {"title": "qdrant - vector search engine", "version": double.core.version}
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_all  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and close the core."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.core.close()


@contextmanager
def running(folder: Path) -> Any:
    """A server for a while."""
    double = QdrantDouble(folder)
    try:
        yield double
    finally:
        double.stop()


if __name__ == "__main__":
    served = QdrantDouble(Path(sys.argv[1]))
    print(served.url, flush=True)
    threading.Event().wait()
