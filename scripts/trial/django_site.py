"""A Django site in one file, run by its dev server: `python3 django_site.py runserver PORT`.

DJANGO_TRUSTS says how it is told that its clients come over https:
`header` (SECURE_PROXY_SSL_HEADER) or `origins` (CSRF_TRUSTED_ORIGINS, from DJANGO_ORIGIN).
"""

import hashlib
import os
import sys
import time

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path

EDITION = "first edition"

by_header = os.environ["DJANGO_TRUSTS"] == "header"
settings.configure(
    DEBUG=True,
    SECRET_KEY="for a trial",
    ALLOWED_HOSTS=[".test"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if by_header else None,
    SECURE_SSL_REDIRECT=by_header,  # would go round for ever if the header did not say https
    CSRF_COOKIE_SECURE=True,
    CSRF_TRUSTED_ORIGINS=[] if by_header else [os.environ["DJANGO_ORIGIN"]],
)


def page(request):
    get_token(request)  # sets the cookie
    return JsonResponse({"edition": EDITION, "secure": request.is_secure(), "url": request.build_absolute_uri()})


def form(request):
    return HttpResponse(f"hello {request.POST['name']}")


def upload(request):
    digest = hashlib.sha256()
    for piece in request.FILES["file"].chunks():
        digest.update(piece)
    return HttpResponse(digest.hexdigest())


def stream(_request):
    def lines():
        for _ in range(5):
            time.sleep(0.3)
            yield f"data: {time.time()}\n\n"

    return StreamingHttpResponse(lines(), content_type="text/event-stream")


urlpatterns = [
    path("", page),
    path("form", form),
    path("old", lambda request: redirect("/new?from=old")),
    path("absolute", lambda request: redirect(request.build_absolute_uri("/new"))),
    path("upload", upload),
    path("stream", stream),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
