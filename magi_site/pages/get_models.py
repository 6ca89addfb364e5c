"""The page that looks for models at the hub, shows what fits, and has them fetched."""

from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from magi_site.pages.page import AdminPage
from models_app.download_asks import PULL, ask_for
from models_app.download_models import UNDER_WAY, Download
from models_app.download_schema import MAX_BYTES_PER_S
from models_app.downloads.hub import endpoint
from models_app.errors import DownloadError
from models_app.hubsearch.searching import MAX_WORDS_CHARS, search_hub
from models_app.rescan_progress import nodes_to_scan
from servers_app.hub_quants import quants_here

MAX_REPO_CHARS: Final = 300
MB: Final = 10**6


class GetModelsPage(AdminPage):
    """Words lead to repos, a repo to its quantizations, and a button to a download.

    All of it is links and forms: a page that is loaded again asks the hub again, so nothing
    here is live. The downloads have a page that is.
    """

    title = "Get models"
    permission = "models_app.view_download"
    template_name = "admin/magi/get_models.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        asked = self.request.GET
        words, repo = asked.get("q", "")[:MAX_WORDS_CHARS], asked.get("repo", "")
        node = asked.get("node", "") if asked.get("node", "") in nodes_to_scan() else ""
        context: dict[str, Any] = {
            "words": words,
            "repo": repo[:MAX_REPO_CHARS],
            "node": node or settings.MAGI_NODE,
            "nodes": nodes_to_scan(),
            "hub": endpoint(),
            "may_pull": self.request.user.has_perm(PULL),
            "under_way": Download.objects.filter(state__in=UNDER_WAY).count(),
        }
        try:
            if repo:
                context["found"] = quants_here(repo[:MAX_REPO_CHARS], node=node)
            elif "q" in asked:
                context["repos"] = search_hub(words)
        except DownloadError as error:
            context["trouble"] = str(error)
        return super().get_context_data(**context, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Ask for a download."""
        if not request.user.has_perm(PULL):
            raise PermissionDenied
        limit, trouble = _limit(request.POST.get("limit", ""))
        node = request.POST.get("node", "")
        if node not in ("", *nodes_to_scan()):
            trouble = f"there is no node {node[:100]}."
        if trouble:
            messages.error(request, f"Not fetched: {trouble}")
            return HttpResponseRedirect(request.get_full_path())
        reference = request.POST.get("reference", "")
        if ask_for(request, reference, node=node, limit_bytes_per_s=limit) is None:
            return HttpResponseRedirect(request.get_full_path())
        return HttpResponseRedirect(reverse("admin:models_app_download_changelist"))


def _limit(text: str) -> tuple[int | None, str]:
    """Return megabytes a second as bytes, and what is wrong with them."""
    if not text.strip():
        return None, ""
    try:
        limit = float(text)
    except ValueError:
        limit = 0
    if not MB / 1000 <= limit * MB <= MAX_BYTES_PER_S:  # nan is no number either
        return None, "the limit is megabytes a second, such as 2.5, or nothing."
    return round(limit * MB), ""
