"""A profile's rows and its document, each made of the other."""

from collections.abc import Sequence
from typing import Any

from profiles_app.document import Document
from profiles_app.models import Profile, ProfileMember, TierRule

# Columns by section and key.
_COLUMNS = {
    "two_stage": {
        "enabled": "two_stage_enabled",
        "stage1_tier": "two_stage_stage1_tier",
        "stage2_tier": "two_stage_stage2_tier",
        "stage1_max_tokens": "two_stage_stage1_max_tokens",
    },
    "load_balancing": {
        "enabled": "load_balancing_enabled",
        "strategy": "load_balancing_strategy",
        "health_check_interval": "health_check_interval",
    },
    "routing": {
        name: f"routing_{name}"
        for name in ("cold_wait_seconds", "classifier", "classifier_model")
    },
    "lifecycle": {
        name: name for name in ("start", "idle_ttl_seconds", "drain_seconds", "restart_policy")
    },
    "queue": {"limit": "queue_limit", "wait_seconds": "queue_wait_seconds"},
    "memory": {"budget_mib": "memory_budget_mib", "eviction": "eviction"},
    "placement": {
        name: f"placement_{name}"
        for name in ("rule", "nodes", "failover", "failover_after_seconds")
    },
}
_FIELDS = ("name", "description", "extends", "preset", "engine", "run_settings")


def field_of(path: Sequence[str | int]) -> str:
    """Return the field of a profile that a path of its document is about; empty for none.

    >>> field_of(("memory", "budget_mib"))
    'memory_budget_mib'
    """
    if not path:
        return ""
    section = str(path[0])
    if section not in _COLUMNS:
        return section if section in _FIELDS else ""
    return _COLUMNS[section].get(str(path[1]), "") if len(path) > 1 else ""


def sections_of(profile: Profile) -> Document:
    """Return the sections of a profile's document that are columns of its row."""
    return {
        section: {key: getattr(profile, column) for key, column in columns.items()}
        for section, columns in _COLUMNS.items()
    }


def as_document(profile: Profile) -> Document:
    """Return what a profile comes to, every default in it."""
    return {
        "name": profile.name,
        "description": profile.description,
        "extends": profile.extends.slug if profile.extends else None,
        "enabled_models": [_member(member) for member in profile.members.all()],
        "tier_config": [
            {
                "name": tier.name,
                "max_score": tier.max_score,
                "expected_time_seconds": tier.expected_time_seconds,
                "description": tier.description,
            }
            for tier in profile.tiers.all()
        ],
        **sections_of(profile),
        "preset": profile.preset or None,
        "engine": profile.engine,
        "run_settings": profile.run_settings,
    }


def write_rows(profile: Profile, document: Document, *, extends: Profile | None) -> None:
    """Make a profile's rows what `document` says; it is valid, and every default in it."""
    profile.name = document["name"]
    profile.description = document["description"]
    profile.extends = extends
    profile.preset = document["preset"] or ""
    profile.engine = document["engine"]
    profile.run_settings = document["run_settings"]
    for section, columns in _COLUMNS.items():
        for key, column in columns.items():
            setattr(profile, column, document[section][key])
    profile.save()
    profile.members.all().delete()
    ProfileMember.objects.bulk_create(
        ProfileMember(profile=profile, position=position, **_member_columns(member))
        for position, member in enumerate(document["enabled_models"])
    )
    profile.tiers.all().delete()
    TierRule.objects.bulk_create(
        TierRule(profile=profile, position=position, **tier)
        for position, tier in enumerate(document["tier_config"])
    )


def _member(member: ProfileMember) -> str | dict[str, Any]:
    more: dict[str, Any] = {}
    if member.tier_override:
        more["tier"] = member.tier_override
    if member.replicas != 1:
        more["replicas"] = member.replicas
    if member.aliases:
        more["aliases"] = member.aliases
    if member.nodes:
        more["nodes"] = member.nodes
    if member.run_settings:
        more["run_settings"] = member.run_settings
    return {"model_id": member.model_id, **more} if more else member.model_id


def _member_columns(member: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(member, str):
        return {"model_id": member}
    return {
        "model_id": member["model_id"],
        "tier_override": member.get("tier") or "",
        "replicas": member.get("replicas", 1),
        "aliases": member.get("aliases", []),
        "nodes": member.get("nodes", []),
        "run_settings": member.get("run_settings", {}),
    }
