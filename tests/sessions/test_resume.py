"""resume.py: each reason for `reset-required`, one that stands in none of its ways, and which of
two is given."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from changesource.errors import HistoryLost, SourceReplaced, UnknownVersion
from changesource.models.queries.access import Entitlements, StoredAccess
from changesource.models.queries.clients import Identity
from changesource.models.queries.published import PublishedApp
from changesource.models.queries.replicas import ReplicaRecord
from changesource.protocol.requests import Resume
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import Access, ClientView
from changesource.sessions.client_access import ClientAccess
from changesource.sessions.resume import (
    ACCESS_WITHOUT_A_PLACE,
    APP_IS_GONE,
    NOT_REGISTERED,
    OF_ANOTHER_CLIENT,
    OF_ANOTHER_SCOPE,
    Reset,
    history_lost,
    reset_after,
    reset_at_resume,
    reset_in_stream,
    started_over,
)
from changesource.tables.definition import AppDefinition
from tests.simulation.builders import APP_ID, version

CLIENT_ID = 7
BEGAN = 1_700_000_000 << 32
CHANGED = BEGAN + 100
"""The cluster time at which the client's access becomes its second."""
STORED_AT = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = StoredAccess(1, "a" * 32, 0, "{}", STORED_AT)
SECOND = StoredAccess(2, "b" * 32, CHANGED, "{}", STORED_AT)
PUBLISHED = PublishedApp(APP_ID, 3, AppDefinition(APP_ID, "default", ()), "shop.one", base_number=2)
ANOTHER_BASE = replace(PUBLISHED, number=4, log_name="shop.two", base_number=4)
REPLACED_BASE = replace(ANOTHER_BASE, base_reason="another database is behind the URI of its source")
REPLICA = ReplicaRecord(
    app_id=APP_ID,
    shard_num=0,
    replica_version=Position(BEGAN).watermark,
    snapshot_end=Position(BEGAN + 5).watermark,
    version_number=2,
    client_id=CLIENT_ID,
    access_number=1,
    scope="",
)


def access_of(*versions: StoredAccess, publications: tuple[str, ...] = ()) -> ClientAccess:
    entitlements = Entitlements(
        is_active=True,
        expires_at=None,
        shards=frozenset(),
        credentials=frozenset(),
        accepts_jwt=True,
        wanted="{}",
        versions=versions,
    )
    return ClientAccess(Identity(CLIENT_ID, "tenant"), APP_ID, publications, entitlements)


def view_of(access_number: int) -> ClientView:
    return ClientView(version(), Access(), access_number=access_number)


def at_resume(
    replica: ReplicaRecord | None = REPLICA,
    published: PublishedApp = PUBLISHED,
    access: ClientAccess | None = None,
) -> Reset | None:
    return reset_at_resume(replica, CLIENT_ID, published, access or access_of(FIRST, SECOND))


class TestAtAResume:
    def test_a_registered_replica_of_the_client_may_resume(self) -> None:
        """It was built under the access that was in force at its version."""
        assert at_resume() is None
        later = replace(REPLICA, replica_version=Position(CHANGED + 1).watermark, access_number=2)
        assert at_resume(later) is None

    def test_a_replica_that_is_not_registered_may_not(self) -> None:
        """A client has made it up, or the Django database has lost it."""
        assert at_resume(None) == NOT_REGISTERED

    @pytest.mark.parametrize("client_id", [CLIENT_ID + 1, None])
    def test_a_replica_of_another_client_may_not(self, client_id: int | None) -> None:
        """None stands for a client that has been deleted."""
        assert at_resume(replace(REPLICA, client_id=client_id)) == OF_ANOTHER_CLIENT

    @pytest.mark.parametrize("published", [ANOTHER_BASE, REPLACED_BASE])
    def test_a_replica_of_a_version_before_the_base_may_not(self, published: PublishedApp) -> None:
        """It is a fault if no person published that base."""
        reset = at_resume(published=published)
        assert reset is not None
        because = f": {published.base_reason}" if published.base_reason else ""
        assert reset.reason == f"Version 4 of the app starts over{because}. The replica has version 2."
        assert reset.is_fault == bool(published.base_reason)

    def test_a_replica_of_another_scope_may_not(self) -> None:
        """Other publications, or another token, mean other rows."""
        assert at_resume(access=access_of(FIRST, publications=("cities",))) == OF_ANOTHER_SCOPE

    @pytest.mark.parametrize("number", [0, 3])
    def test_a_replica_of_an_access_that_is_not_stored_may_not(self, number: int) -> None:
        """The access is older than all that are kept, or has been lost with a part of the Django
        database."""
        assert at_resume(replace(REPLICA, access_number=number)) == ACCESS_WITHOUT_A_PLACE

    def test_a_replica_of_another_access_than_was_in_force_may_not(self) -> None:
        """What it was shown is not known."""
        assert at_resume(replace(REPLICA, access_number=2)) == ACCESS_WITHOUT_A_PLACE

    def test_an_access_that_cannot_be_known_is_no_reason(self) -> None:
        """The connection is closed, as for a source that is away."""
        waiting = StoredAccess(1, "a" * 32, None, "{}", STORED_AT)
        with pytest.raises(UnknownVersion):
            at_resume(access=access_of(waiting))

    def test_the_first_reason_is_given(self) -> None:
        """What is not this client's is told nothing of the app; a base that is new comes before
        what clients may read."""
        other = replace(REPLICA, client_id=CLIENT_ID + 1, scope="x", access_number=9)
        assert at_resume(other, REPLACED_BASE) == OF_ANOTHER_CLIENT
        reset = at_resume(replace(other, client_id=CLIENT_ID), REPLACED_BASE)
        assert reset is not None
        assert "starts over" in reset.reason
        assert at_resume(replace(other, client_id=CLIENT_ID)) == OF_ANOTHER_SCOPE


class TestInTheStream:
    def test_a_stream_continues(self) -> None:
        """Also when versions have been published since, all from the same base."""
        current = replace(PUBLISHED, number=5)
        assert reset_in_stream(PUBLISHED, current, view_of(1), access_of(FIRST, SECOND)) is None

    def test_not_when_the_app_is_gone(self) -> None:
        """It has been deleted."""
        assert reset_in_stream(PUBLISHED, None, view_of(1), access_of(FIRST)) == APP_IS_GONE

    @pytest.mark.parametrize("current", [ANOTHER_BASE, REPLACED_BASE])
    def test_not_when_the_app_has_started_over(self, current: PublishedApp) -> None:
        """The reason is the app's, whatever has become of the access."""
        reset = reset_in_stream(PUBLISHED, current, view_of(1), access_of(SECOND))
        assert reset == started_over(PUBLISHED, current)
        assert reset is not None
        assert reset.is_fault == bool(current.base_reason)

    def test_not_under_an_access_of_before_the_base(self) -> None:
        """A later access began without a marker."""
        base = replace(SECOND, cluster_time=0)
        assert reset_in_stream(PUBLISHED, PUBLISHED, view_of(1), access_of(base)) == ACCESS_WITHOUT_A_PLACE

    def test_not_past_the_place_of_an_access_that_was_not_met(self) -> None:
        """The source is not the one in which its marker was met."""
        access = access_of(FIRST, SECOND)
        assert reset_after(Position(CHANGED), view_of(1), access) is None
        assert reset_after(Position(CHANGED + 1), view_of(1), access) == ACCESS_WITHOUT_A_PLACE
        assert reset_after(Position(CHANGED + 1), view_of(2), access) is None


class TestLostHistory:
    REPLICA = replace(REPLICA, acknowledged=Position(BEGAN + 50).watermark)

    def resume(self, cluster_time: int) -> Resume:
        return Resume(Position(cluster_time), Position(BEGAN))

    def test_it_is_a_fault_if_what_follows_the_newest_position_is_lost(self) -> None:
        """The replica is where it is known to have been."""
        reset = history_lost(HistoryLost("It is gone."), self.resume(BEGAN + 50), self.REPLICA)
        assert reset == Reset("CS104: It is gone.", is_fault=True)

    def test_it_is_none_if_a_client_asks_for_older_history(self) -> None:
        """The replica is known to have been further."""
        reset = history_lost(HistoryLost("It is gone."), self.resume(BEGAN + 49), self.REPLICA)
        assert not reset.is_fault

    def test_it_is_none_for_a_snapshot_or_a_stranger(self) -> None:
        """Neither has a replica that would be missed."""
        assert not history_lost(HistoryLost("It is gone."), None, None).is_fault
        assert not history_lost(HistoryLost("It is gone."), self.resume(BEGAN + 50), None).is_fault

    def test_another_source_is_always_a_fault(self) -> None:
        """It concerns every replica of the app."""
        assert history_lost(SourceReplaced("It is another one."), None, None).is_fault


def test_what_an_access_seems_to_be_may_be_a_new_base() -> None:
    """When an app starts over, what its clients may read does too, and either may be seen first."""
    assert started_over(PUBLISHED, replace(PUBLISHED, number=4)) is None
    assert started_over(PUBLISHED, None) is None
    reset = started_over(PUBLISHED, REPLACED_BASE)
    assert reset is not None
    assert reset.is_fault
    assert {ACCESS_WITHOUT_A_PLACE.may_be_a_new_base, OF_ANOTHER_SCOPE.may_be_a_new_base} == {True}
    assert not NOT_REGISTERED.may_be_a_new_base
