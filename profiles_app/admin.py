from django.contrib import admin
from django.http import HttpRequest

from profiles_app.models import Profile, ProfileMember, TierRule


class MemberInline(admin.TabularInline[ProfileMember, Profile]):
    model = ProfileMember
    extra = 1
    verbose_name = "enabled model"


class TierInline(admin.TabularInline[TierRule, Profile]):
    model = TierRule
    extra = 0
    verbose_name = "tier"


@admin.register(Profile)
class ProfileAdmin(admin.ModelAdmin[Profile]):
    list_display = ("name", "slug", "is_active", "description")
    search_fields = ("name", "slug", "description")
    prepopulated_fields = {"slug": ("name",)}
    fieldsets = (
        (None, {"fields": ("name", "slug", "description")}),
        (
            "Two-stage processing",
            {
                "fields": (
                    "two_stage_enabled",
                    ("two_stage_stage1_tier", "two_stage_stage1_max_tokens"),
                    "two_stage_stage2_tier",
                )
            },
        ),
        (
            "Load balancing",
            {
                "fields": (
                    "load_balancing_enabled",
                    ("load_balancing_strategy", "health_check_interval"),
                )
            },
        ),
    )
    inlines = (MemberInline, TierInline)

    def has_delete_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_active)
