from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def page_before(request: HttpRequest, otherwise: str) -> str:
    """Return the page of ours from which a form was sent, or else a list of the admin.

    A page in between names in the field `next` the one that led to it.
    """
    for before in (request.POST.get("next", ""), request.headers.get("Referer", "")):
        if url_has_allowed_host_and_scheme(before, {request.get_host()}):
            return before
    return reverse(f"admin:{otherwise}")
