"""Refused connections: counted, bounded, and pruned by age as the history of clients is."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.utils import timezone

from changesource.models import App, Client, Refusal, queries
from changesource.models.queries.audit import prune_audit
from changesource.models.queries.client_changes import HISTORIES, newest_changes
from changesource.models.queries.refusals import Refused, record_refusals
from tests.models.builders import build_app

NOBODY = Refused("192.0.2.7", "", 4401, "Unknown token.")


@pytest.mark.django_db(transaction=True)
class TestRecordRefusals:
    async def test_count(self) -> None:
        """The same refusal is one row, which counts; another code, reason, client or address is another."""
        await record_refusals({NOBODY: 3})
        first = await Refusal.objects.aget()
        others = [
            Refused("192.0.2.8", "", 4401, "Unknown token."),
            Refused("192.0.2.7", "cache", 4401, "Unknown token."),
            Refused("192.0.2.7", "", 4403, "Unknown token."),
            Refused("192.0.2.7", "", 4401, "It has expired."),
        ]
        await record_refusals({NOBODY: 2, **dict.fromkeys(others, 1)})
        await record_refusals({})
        assert await Refusal.objects.acount() == 5
        again = await Refusal.objects.aget(pk=first.pk)
        assert (again.count, again.first_seen) == (5, first.first_seen)
        assert again.last_seen > first.last_seen

    async def test_many_at_once(self) -> None:
        """More than one statement takes are stored, each with its own count."""
        many = {Refused(f"2001:db8::{number:x}", "", 429, "Too many."): number + 1 for number in range(1201)}
        await record_refusals(many)
        await record_refusals(many)
        counts = [count async for count in Refusal.objects.order_by("pk").values_list("count", flat=True)]
        assert counts == [2 * count for count in many.values()]

    async def test_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The newest are kept, whatever comes."""
        monkeypatch.setattr(queries.refusals, "MAX_REFUSALS", 3)
        await record_refusals({NOBODY: 1})
        await record_refusals({Refused(str(number), "", 429, ""): 1 for number in range(5)})
        assert sorted([refusal.address async for refusal in Refusal.objects.all()]) == ["2", "3", "4"]

    @pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 300, "'; DROP TABLE x; --"])
    async def test_any_text(self, text: str) -> None:
        """What somebody sends as a name is stored as far as it can be, and is found again."""
        refused = Refused(text, text, 2**31 - 1, text)
        await record_refusals({refused: 1})
        await record_refusals({refused: 10**12})
        assert (await Refusal.objects.aget()).count == 10**12 + 1

    async def test_cut_to_the_same(self) -> None:
        """What differs only where it is cut off is one."""
        await record_refusals({Refused("x" * 64 + end, "", 400, ""): 2 for end in "abc"})
        assert (await Refusal.objects.aget()).count == 6


@pytest.mark.django_db
class TestPruneAudit:
    @pytest.fixture
    def app(self) -> App:
        return build_app()

    @pytest.fixture
    def client(self, app: App) -> Client:
        return Client.objects.create_for_apps("cache", [app])

    def refuse(self, days_ago: float) -> None:
        seen = timezone.now() - timedelta(days=days_ago)
        Refusal.objects.create(address=str(days_ago), code=400, reason="", count=1, first_seen=seen, last_seen=seen)

    def age(self, days: float) -> None:
        """All that is in histories happened so long ago."""
        for model in HISTORIES:
            model.objects.update(history_date=timezone.now() - timedelta(days=days))

    def test_refusals(self) -> None:
        """Those that were seen last before that go."""
        for days_ago in (89.9, 90.1, 500):
            self.refuse(days_ago)
        assert prune_audit.blocking(90) == 2
        assert Refusal.objects.get().address == "89.9"

    def test_last_state_stays(self, client: Client) -> None:
        """What was before the oldest change that is kept can still be compared with it."""
        for name in "ab":
            client.name = name
            client.save()
        self.age(100)
        client.name = "c"
        client.save()
        assert prune_audit.blocking(90) == 2
        first, *others = [change for change in newest_changes(client) if change.subject == "client"]
        assert [(field.old, field.new) for field in first.fields] == [("b", "c")]
        assert [change.is_complete for change in others] == [False]

    def test_deleted_client(self, client: Client) -> None:
        """Nothing stays of what was deleted before that, and all of what was deleted since."""
        client.delete()
        assert prune_audit.blocking(90) == 0
        self.age(100)
        assert prune_audit.blocking(90) == 4
        assert newest_changes() == []

    @pytest.mark.parametrize("days", [0, -1, 10**12])
    def test_for_ever(self, client: Client, days: int) -> None:
        """0 keeps everything, and so does more than there is."""
        client.delete()
        self.age(30_000)
        self.refuse(30_000)
        assert prune_audit.blocking(days) == 0

    def test_command(self, settings, capsys: pytest.CaptureFixture[str]) -> None:
        """The command prunes by the setting, or by what it is told."""
        settings.CHANGESOURCE = settings.CHANGESOURCE | {"audit_days": 10}
        for days_ago in (3, 7, 20):
            self.refuse(days_ago)
        call_command("prune_audit")
        call_command("prune_audit", "--days", "5")
        assert capsys.readouterr().out.splitlines() == ["Deleted 1 rows.", "Deleted 1 rows."]
        assert Refusal.objects.get().address == "3"


@pytest.mark.django_db(transaction=True)
async def test_the_service_prunes_refusals() -> None:
    """The service prunes in its database thread."""
    await record_refusals({NOBODY: 1})
    old = timezone.now() - timedelta(days=2)
    await sync_to_async(Refusal.objects.update)(last_seen=old)
    assert await queries.audit.prune_audit(1) == 1
