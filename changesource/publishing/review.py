"""The draft of an app beside the version that streams: what a publish would do."""

from __future__ import annotations

import hashlib
from functools import cached_property

from changesource.conf import load_settings, source_variable
from changesource.errors import ClientsCutOff, UnknownSource
from changesource.models import App, Version
from changesource.publishing.differences import Difference, compare_releases
from changesource.publishing.grants import CutOff, find_cut_off
from changesource.publishing.release import Release


class Review:
    """One look at an app: its `draft`, the `newest` version, and the difference between the two.

    The draft and the version are each read from the Django database when they are first asked for,
    and then kept: what a page shows, what it refuses and the digest that it sends back are all of
    one draft. A later change needs a new review. `known` is a draft that was looked at before; if
    the draft still says the same, it is not checked and compiled again.
    """

    def __init__(self, app: App, known: Release | None = None) -> None:
        self.app = app
        self._known = known

    @cached_property
    def draft(self) -> Release:
        draft = Release.of_draft(self.app)
        return self._known if self._known is not None and self._known.digest == draft.digest else draft

    @cached_property
    def newest(self) -> Version | None:
        """The version that streams, None before the first."""
        return Version.objects.newest(self.app)

    @cached_property
    def published(self) -> Release | None:
        """The same as a release."""
        return None if self.newest is None else Release.of_version(self.newest)

    @cached_property
    def digest(self) -> str:
        """Identifies what a publish would do now: the draft, and the version that it follows."""
        number = self.newest.number if self.newest is not None else 0
        return hashlib.sha256(f"{number} {self.draft.digest}".encode()).hexdigest()

    @cached_property
    def differs(self) -> bool:
        """Whether the draft says anything other than what streams."""
        return self.newest is None or self.newest.definition != self.draft.json

    @property
    def description(self) -> str:
        """How the draft compares with what streams, in a few words."""
        if self.newest is None:
            return "never published"
        return f"draft differs from version {self.newest.number}" if self.differs else f"version {self.newest.number}"

    @cached_property
    def is_being_published(self) -> bool:
        return self.app.versions.filter(cluster_time=None).exists()

    @cached_property
    def cut_off(self) -> list[CutOff]:
        """The clients that a publish concerns."""
        return find_cut_off(self.app, self.published.definition if self.published else None, self.draft.definition)

    @cached_property
    def difference(self) -> Difference:
        """What a publish changes. The draft must have no problems."""
        return compare_releases(self.published, self.draft)

    def refuse_unpublishable(self) -> None:
        """Raises `InvalidDefinition` with every problem of the draft, `ClientsCutOff` with every
        client that would be cut off, and `UnknownSource` if the source has no URI."""
        self.draft.refuse_problems(f"{self.app} cannot be published.")
        if refusing := [str(cut_off) for cut_off in self.cut_off if cut_off.refuses]:
            raise ClientsCutOff("\n".join([f"{self.app} cannot be published.", *refusing]))
        source = self.draft.definition.source
        if source not in load_settings().sources:
            raise UnknownSource(
                f"{self.app} names the source {source!r}, which has no URI. Set {source_variable(source)}."
            )
