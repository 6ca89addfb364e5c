"""Users and groups: Django's own pages, with the audit told of each change."""

from typing import Any, Final

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Count, ManyToManyField, QuerySet
from django.forms import ModelForm, ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse

from models_app.audit_forms import delete_rows, save_form

admin.site.unregister([User, Group])

# Of Django's own tables: no page of MAGI asks for these.
WITHOUT_A_PAGE: Final = ("admin", "axes", "contenttypes", "sessions")


class PermissionsField(ModelMultipleChoiceField[Permission]):
    """Permissions in words: what one may do, and with what."""

    def label_from_instance(self, obj: Any) -> str:
        kind = obj.content_type
        app = "Users" if kind.app_label == "auth" else kind.app_labeled_name.split(" | ")[0]
        return f"{app}: {obj.name[:1].lower()}{obj.name[1:]}"


def permission_options(field: "ManyToManyField[Any, Any]") -> dict[str, Any]:
    """Return what makes a field of permissions one that people can read."""
    if field.related_model is not Permission:
        return {}
    rows = Permission.objects.exclude(content_type__app_label__in=WITHOUT_A_PAGE)
    return {"form_class": PermissionsField, "queryset": rows.select_related("content_type")}


@admin.register(User)
class AuditedUserAdmin(UserAdmin[User]):
    list_display = (
        "username",
        "groups_shown",
        "may_do_all",
        "is_staff",
        "is_active",
        "last_login",
    )
    list_filter = ("groups", "is_superuser", "is_staff", "is_active")
    show_facets = admin.ShowFacets.NEVER
    readonly_fields = ("last_login", "date_joined")  # what happened, which nobody sets

    @admin.display(description="Groups")
    def groups_shown(self, obj: User) -> str:
        return ", ".join(sorted(group.name for group in obj.groups.all())) or "-"

    @admin.display(description="May do all", ordering="is_superuser", boolean=True)
    def may_do_all(self, obj: User) -> bool:
        return obj.is_superuser

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Users", **(extra_context or {})})

    def formfield_for_manytomany(
        self, db_field: "ManyToManyField[Any, Any]", request: HttpRequest, **options: Any
    ) -> ModelMultipleChoiceField[Any] | None:
        options |= permission_options(db_field)
        return super().formfield_for_manytomany(db_field, request, **options)

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
    list_display = ("name", "people", "rights")

    @admin.display(description="People")
    def people(self, obj: Group) -> int:
        return int(getattr(obj, "people_count", 0))

    @admin.display(description="Permissions")
    def rights(self, obj: Group) -> int:
        return int(getattr(obj, "rights_count", 0))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        counts = {
            "people_count": Count("user", distinct=True),
            "rights_count": Count("permissions", distinct=True),
        }
        return super().get_queryset(request).annotate(**counts)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Groups", **(extra_context or {})})

    def formfield_for_manytomany(
        self,
        db_field: "ManyToManyField[Any, Any]",
        request: HttpRequest | None = None,
        **options: Any,
    ) -> ModelMultipleChoiceField[Any] | None:
        options |= permission_options(db_field)
        return super().formfield_for_manytomany(db_field, request, **options)

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
