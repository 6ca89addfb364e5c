"""A stand-in for the Hugging Face Hub: its API, and files behind a redirect.

Source: what huggingface_hub 2.4.0 asks for, and what huggingface.co answers.
"""

import json
import re
from dataclasses import replace
from typing import Any

from tests.models_app.hubs.content import Content
from tests.models_app.hubs.server import Handler, StandIn

COMMIT = "a" * 40
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_CDN = re.compile(r"/cdn/([^/]+/[^/]+)/(.+)")


class _HubHandler(Handler):
    def answer(self, path: str, headers: dict[str, str]) -> None:
        hub: Hub = self.stand_in
        if path == "/api/models":
            self._json(hub.found())
        elif match := _API.fullmatch(path):
            self._api(match[1], match[2] or "", headers)
        elif match := _CDN.fullmatch(path):
            self.give(hub.repos[match[1]][match[2]])
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(match[1], match[3], headers)
        else:
            self.reply(404)

    def _api(self, repo: str, revision: str, headers: dict[str, str]) -> None:
        hub: Hub = self.stand_in
        if hub.api_answers:
            status, more = hub.api_answers.pop(0)
            self.reply(status, b"", **more)
        elif repo not in hub.repos:
            self.reply(hub.unknown_status, b"", X_Error_Code="RepoNotFound")
        elif hub.hides_gated and not self._may(repo, headers):
            self.reply(401)
        elif revision and revision not in ("main", hub.commit, *hub.revisions):
            self.reply(404, b"", X_Error_Code="RevisionNotFound")
        else:
            self._json(hub.info(repo))

    def _resolve(self, repo: str, path: str, headers: dict[str, str]) -> None:
        hub: Hub = self.stand_in
        content = hub.repos.get(repo, {}).get(path)
        if content is None:
            self.reply(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=hub.commit)
            return
        if not self._may(repo, headers):
            status = 403 if "authorization" in headers else 401
            self.reply(status, b"", X_Error_Code="GatedRepo", X_Error_Message="Access is gated")
            return
        told = {
            "X_Repo_Commit": hub.commit,
            "X_Linked_ETag": f'"{content.sha256}"',
            "X_Linked_Size": str(content.size),
            "ETag": f'"{content.sha256}"',
        }
        if hub.redirects_to is None:
            self.give(content, **told)
        else:
            self.reply(302, b"", Location=f"{hub.redirects_to}/cdn/{repo}/{path}", **told)

    def _may(self, repo: str, headers: dict[str, str]) -> bool:
        hub: Hub = self.stand_in
        return repo not in hub.gated or headers.get("authorization") == f"Bearer {hub.token}"

    def _json(self, value: Any) -> None:
        self.reply(200, json.dumps(value).encode(), Content_Type="application/json")


class Hub(StandIn):
    """Set `HF_ENDPOINT` to its `url`. Its files come by way of `localhost`, another host."""

    handler = _HubHandler

    def __init__(self) -> None:
        super().__init__()
        self.repos: dict[str, dict[str, Content]] = {}
        self.commit = COMMIT
        self.revisions: tuple[str, ...] = ()
        self.gated: set[str] = set()
        self.hides_gated = False  # its API asks for the token, too
        self.token = "hf_let_me_in"
        self.tells_details = True  # sizes and hashes, in its API
        self.unknown_status = 404
        self.api_answers: list[tuple[int, dict[str, str]]] = []  # instead, each once
        self.redirects_to: str | None = f"http://localhost:{self.port}"

    def add(self, repo: str, content: Content, path: str = "") -> Content:
        """Have a file in a repo. Change `content.sha256` or `size` to have the hub lie."""
        self.repos.setdefault(repo, {})[path or content.path.name] = content
        return content

    def lie(self, repo: str, path: str, **told: Any) -> None:
        self.repos[repo][path] = replace(self.repos[repo][path], **told)

    def is_body(self, path: str) -> bool:
        return path.startswith("/cdn/") or (self.redirects_to is None and "/resolve/" in path)

    def info(self, repo: str) -> dict[str, Any]:
        return {
            "id": repo,
            "sha": self.commit,
            "gated": "manual" if repo in self.gated else False,
            "downloads": 1000,
            "likes": 10,
            "tags": ["gguf"],
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": [self._sibling(path, one) for path, one in self.repos[repo].items()],
        }

    def found(self) -> list[dict[str, Any]]:
        return [self.info(repo) for repo in self.repos]

    def _sibling(self, path: str, one: Content) -> dict[str, Any]:
        if not self.tells_details:
            return {"rfilename": path}
        lfs = {"sha256": one.sha256, "size": one.size, "pointerSize": 134}
        return {"rfilename": path, "size": one.size, "blobId": "b" * 40, "lfs": lfs}
