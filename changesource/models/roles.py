"""Ready-made groups of users, one for each kind of work. A user may be in several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import router, transaction

_VIEW: Final = frozenset(
    {
        "view_app",
        "view_table",
        "view_column",
        "view_version",
        "view_replica",
        "view_awaitedreplica",
        "view_rowerrorrecord",
        "view_runningsnapshot",
    }
)

GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "Zero viewers": _VIEW,
    "Zero editors": _VIEW
    | {"add_app", "change_app"}
    | {f"{action}_{model}" for action in ("add", "change", "delete") for model in ("table", "column")},
    "Zero publishers": _VIEW | {"publish_app"},
    "Zero client managers": frozenset(
        {
            "view_app",
            "view_version",
            "view_replica",
            "view_awaitedreplica",
            "change_awaitedreplica",
            "view_runningsnapshot",
            "view_refusal",
        }
    )
    | {f"{action}_{model}" for action in ("view", "add", "change", "delete") for model in ("client", "grant")}
    | {f"{action}_credential" for action in ("view", "add", "change")},
}
"""Name → codenames of permissions. No group may delete an app: its streams would end and its
versions would be gone."""


def may_view(user: Any, model: str, obj: Any = None) -> bool:
    """Whether admin shows objects of `model` (such as `table`) to the user. As in Django,
    permission to change includes permission to view. `obj` is for backends with object permissions,
    if the user may not view all objects."""
    codenames = [f"changesource.{action}_{model}" for action in ("view", "change")]
    return any(user.has_perm(codename) or (obj is not None and user.has_perm(codename, obj)) for codename in codenames)


def may_view_draft(user: Any, app: Any) -> bool:
    """Whether admin shows the tables in the draft of `app` to the user."""
    return may_view(user, "table", app) and may_view(user, "column", app)


def create_groups(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """Creates the missing `GROUPS`. Their permissions are the administrator's business from then
    on.

    For `post_migrate`. Does nothing while some permissions do not exist: after a migration to an
    earlier state.
    """
    if not router.allow_migrate_model(using, Group):
        return
    names = set(Group.objects.using(using).filter(name__in=GROUPS).values_list("name", flat=True))
    if names == GROUPS.keys():
        return
    create_permissions(sender, verbosity=0, using=using, **_of_state(kwargs))  # whatever the order of INSTALLED_APPS
    found = Permission.objects.using(using).filter(content_type__app_label=sender.label)
    permissions = {permission.codename: permission for permission in found}
    if not permissions.keys() >= frozenset().union(*GROUPS.values()):
        return
    with transaction.atomic(using=using):
        for name in GROUPS.keys() - names:
            group = Group.objects.using(using).create(name=name)
            group.permissions.set([permissions[codename] for codename in GROUPS[name]])


def _of_state(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The models as they are after the migrations that ran."""
    return {"apps": kwargs["apps"]} if "apps" in kwargs else {}
