"""What clients said of replicas that were never registered made rows and alarms, and made snapshots wait."""

from typing import Any

from django.db import migrations
from django.db.models import Exists, OuterRef


def forget_what_was_said(apps: Any, schema_editor: Any) -> None:
    awaited = apps.get_model("changesource", "AwaitedReplica").objects
    registered = apps.get_model("changesource", "Replica").objects.filter(
        app=OuterRef("app"), client=OuterRef("client"), shard_num=OuterRef("shard_num")
    )
    awaited.exclude(Exists(registered)).delete()
    awaited.update(watermark="")


class Migration(migrations.Migration):
    dependencies = [("changesource", "0008_source_identity")]

    operations = [migrations.RunPython(forget_what_was_said, migrations.RunPython.noop)]
