"""Clients, and what each may read of which app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models, transaction

from changesource.models.app import App, validate_json_object
from changesource.models.history import keep_history
from changesource.models.table import validate_names
from changesource.models.version import Version
from changesource.mql import MqlError, read_mapping_text
from changesource.tables.definition import AppDefinition, why_not_a_name

WHAT_ROW_FILTERS_ARE = 'Row filters are a JSON object: {"order": {"tenantId": "$client.tenant"}}.'
"""Said of text that is something else."""
SHARDS_PATTERN = r"\A(\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*)?\Z"


def validate_printable(value: str) -> None:
    """Refuses names that `why_not_a_name` refuses."""
    if reason := why_not_a_name(value):
        raise ValidationError(reason)


def validate_row_filters(value: str) -> None:
    """Refuses text that is not a JSON object. The filters themselves are checked against a
    published version."""
    try:
        read_mapping_text(value, what_it_is=WHAT_ROW_FILTERS_ARE)
    except MqlError as error:
        raise ValidationError(str(error)) from error


class ClientManager(models.Manager["Client"]):
    def create_for_apps(self, name: str, apps: Iterable[App]) -> Client:
        """Creates a client that may read all of `apps`. It has no credential yet.

        Raises `ValidationError` for a name that is taken, empty, too long or not printable.
        """
        client = Client(name=name)
        client.full_clean()
        with transaction.atomic():
            client.save(force_insert=True)
            for app in apps:
                client.grants.create(app=app)
        return client


class Client(models.Model):
    """One downstream: a zero-cache deployment, perhaps of one tenant. Its `credentials` open
    streams; its `grants` say what these contain."""

    name = models.CharField(max_length=100, unique=True, validators=[validate_printable])
    apps = models.ManyToManyField(App, through="Grant", related_name="clients")
    attributes = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_json_object],
        help_text='What row filters know about this client: {"tenant": "acme"} becomes $client.tenant.',
    )
    is_active = models.BooleanField(
        "active",
        default=True,
        help_text="If this is off, the client is refused, and its open streams end within seconds.",
    )
    expires_at = models.DateTimeField(
        "expires",
        null=True,
        blank=True,
        help_text="From this time on the client counts as inactive. Leave it empty for never.",
    )
    accepts_jwt = models.BooleanField(
        "accepts JWTs",
        default=False,
        help_text="If this is on, the client may also connect with a JWT from JWT_ISSUER whose claim JWT_CLIENT_CLAIM "
        "(sub) is its name. If it is off, only its credentials count.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField("last seen", null=True, blank=True, editable=False)

    objects = ClientManager()
    history = keep_history(without=("last_seen_at",))

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Grant(models.Model):
    """What a client may read of one app. Names of tables are those of the published version that is
    in force.

    A grant with row filters, or with a list of tables, shows the tables that these name and no
    others. A name means the documents that the table showed when the name was added (`origins`): a
    later table of this name that reads another collection or another source is not shown until a
    user confirms the grant.
    """

    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="grants")
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="grants")
    all_tables = models.BooleanField(
        default=True,
        help_text="Tables that are published later are included. With row filters: only tables that have one.",
    )
    tables = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_names],
        help_text="Names of the tables, if it may not read all. The client does not learn that others exist.",
    )
    shards = models.CharField(
        max_length=255,
        blank=True,
        validators=[RegexValidator(SHARDS_PATTERN, "Write numbers separated by commas, such as 0, 1.")],
        help_text="The shards (ZERO_SHARD_NUM) that it may be, separated by commas. Leave it empty for any.",
    )
    row_filters = models.TextField(
        blank=True,
        validators=[validate_row_filters],
        help_text='Which rows it may read, by the name of the table: {"order": {"tenantId": "$client.tenant"}}. A filter '
        "uses the filter columns of its table; {} shares the whole table. Tables without a filter are not shown, unless they "
        "are chosen above.",
    )
    origins = models.JSONField(
        default=dict,
        blank=True,
        editable=False,
        help_text="Name of a table → the source and the collection that it showed when it was granted.",
    )

    history = keep_history()

    class Meta:
        ordering = ["client", "app"]
        constraints = [models.UniqueConstraint(fields=["client", "app"], name="grant_unique_in_client")]

    def __str__(self) -> str:
        return f"{self.client} may read {self.app}"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Also notes the origins of tables that are named for the first time."""
        newest = Version.objects.newest(self.app)
        self.note_origins(newest.to_definition() if newest else None)
        if update_fields is not None:
            update_fields = {*update_fields, "origins"}
        super().save(*args, update_fields=update_fields, **kwargs)

    def shard_numbers(self) -> frozenset[int]:
        """The shards that the client may be; empty for any."""
        return frozenset(int(part.strip()) for part in self.shards.split(",") if part.strip())

    def confirm(self) -> None:
        """Stores that its names mean the tables that the version in force has under them."""
        self.origins = {}
        self.save()

    def note_origins(self, published: AppDefinition | None) -> None:
        """Forgets the origins of tables that are no longer named, and notes those of newly named
        ones."""
        known = (published.origins() if published else {}) | self.origins
        self.origins = {name: known[name] for name in sorted(self.named_tables() or ()) if name in known}

    def named_tables(self) -> frozenset[str] | None:
        """The tables that it names, None if it shows all tables. Text that is not row filters names
        none."""
        if not self.all_tables:
            return frozenset(self.tables)
        try:
            filters = read_mapping_text(self.row_filters, what_it_is=WHAT_ROW_FILTERS_ARE)
        except MqlError:
            return frozenset()
        return frozenset(filters) or None

    def access(self) -> dict[str, Any]:
        """What decides which rows the client gets, in the form in which it is stored;
        `publishing.client_view.Access` reads it."""
        return {
            "tables": None if self.named_tables() is None else self.origins,
            "rowFilters": self.row_filters,
            "attributes": self.client.attributes,
        }
