"""`manage.py createsuperuser`: Django's own, and the audit is told."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User

from models_app import audit
from models_app.audit_models import Action


class Command(createsuperuser.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        newest = User.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        done = super().handle(*args, **options)  # it may ask questions: in no transaction
        for user in User.objects.filter(pk__gt=newest, is_superuser=True):
            after = {"username": user.username, "email": user.email, "is_superuser": True}
            audit.record(Action.CREATE, user, after=after)
        return done
