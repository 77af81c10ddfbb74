"""Who may connect, and what of which app each may read."""

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

WHAT_ROW_FILTERS_ARE = "Row filters are a JSON object: the name of a table → a filter."
SHARDS_PATTERN = r"\A(\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*)?\Z"


def validate_printable(value: str) -> None:
    """Refuse names that `why_not_a_name` refuses."""
    if reason := why_not_a_name(value):
        raise ValidationError(reason)


def validate_row_filters(value: str) -> None:
    """Refuse text that is not a JSON object. What the filters say is checked against a published version."""
    try:
        read_mapping_text(value, what_it_is=WHAT_ROW_FILTERS_ARE)
    except MqlError as error:
        raise ValidationError(str(error)) from error


class ClientManager(models.Manager["Client"]):
    def create_for_apps(self, name: str, apps: Iterable[App]) -> Client:
        """A new client that may read all of `apps`, without a credential yet.

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
    """One downstream: a zero-cache deployment, of one tenant perhaps. Its `credentials` open streams, its `grants` say of
    what."""

    name = models.CharField(max_length=100, unique=True, validators=[validate_printable])
    apps = models.ManyToManyField(App, through="Grant", related_name="clients")
    attributes = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_json_object],
        help_text='What row filters know of this client: {"tenant": "acme"} is $client.tenant.',
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="Off: it is refused, and its open streams end within seconds."
    )
    expires_at = models.DateTimeField(
        "expires", null=True, blank=True, help_text="From then on it is as if it were not active. Empty: never."
    )
    accepts_jwt = models.BooleanField(
        "accepts JWTs",
        default=False,
        help_text="On: it also connects by JWTs of the issuer in JWT_ISSUER whose claim JWT_CLIENT_CLAIM (sub) is its name. "
        "Off: by its credentials only.",
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
    """What a client may read of one app. Names of tables are those of the published version that is in force.

    A grant that has row filters, or a list of tables, shows the tables that these name and no others. A name means the
    documents that the table showed when the name was added (`origins`): a later table of this name that reads another
    collection or another source is not shown until somebody confirms the grant.
    """

    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="grants")
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="grants")
    all_tables = models.BooleanField(
        default=True,
        help_text="Also those that are published later. With row filters: only the tables that have one.",
    )
    tables = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_names],
        help_text="Names of the tables, unless it may read all. Others are not in its schema at all.",
    )
    shards = models.CharField(
        max_length=255,
        blank=True,
        validators=[RegexValidator(SHARDS_PATTERN, "Write numbers with commas between them, as 0, 1.")],
        help_text="The shards (ZERO_SHARD_NUM) that it may be, with commas. Empty: any.",
    )
    row_filters = models.TextField(
        blank=True,
        validators=[validate_row_filters],
        help_text='Which rows of a table it may read: {"order": {"tenantId": "$client.tenant"}}, by the name of the table. '
        "A filter asks for filter columns of the table; {} shares the table whole. Tables without a filter are not shown, "
        "unless they are chosen above.",
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
        """Notes the origins of the tables that are named for the first time."""
        newest = Version.objects.newest(self.app)
        self.note_origins(newest.to_definition() if newest else None)
        if update_fields is not None:
            update_fields = {*update_fields, "origins"}
        super().save(*args, update_fields=update_fields, **kwargs)

    def shard_numbers(self) -> frozenset[int]:
        """The shards that it may be; none for any."""
        return frozenset(int(part.strip()) for part in self.shards.split(",") if part.strip())

    def confirm(self) -> None:
        """Saves that its names mean what the version in force shows under them."""
        self.origins = {}
        self.save()

    def note_origins(self, published: AppDefinition | None) -> None:
        """Forgets the origins of tables that are no longer named, and notes those of tables that are new."""
        known = (published.origins() if published else {}) | self.origins
        self.origins = {name: known[name] for name in sorted(self.named_tables() or ()) if name in known}

    def named_tables(self) -> frozenset[str] | None:
        """The tables that it names, None if it shows all there are. None are named by text that is no row filters."""
        if not self.all_tables:
            return frozenset(self.tables)
        try:
            filters = read_mapping_text(self.row_filters, what_it_is=WHAT_ROW_FILTERS_ARE)
        except MqlError:
            return frozenset()
        return frozenset(filters) or None

    def access(self) -> dict[str, Any]:
        """What decides which rows the client gets, as it is stored: see `publishing.client_view.Access`."""
        return {
            "tables": None if self.named_tables() is None else self.origins,
            "rowFilters": self.row_filters,
            "attributes": self.client.attributes,
        }
