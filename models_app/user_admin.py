"""Users and groups: Django's own pages, with the audit told of each change."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from models_app.audit_forms import delete_rows, save_form

admin.site.unregister([User, Group])


@admin.register(User)
class AuditedUserAdmin(UserAdmin[User]):
    def save_model(
        self,
        request: HttpRequest,
        obj: User,
        form: ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        delete_rows(User.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        delete_rows(queryset)


@admin.register(Group)
class AuditedGroupAdmin(GroupAdmin):
    def save_model(
        self,
        request: HttpRequest,
        obj: Group,
        form: ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        delete_rows(Group.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        delete_rows(queryset)
