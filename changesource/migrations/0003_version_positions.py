import uuid

import changesource.models.version
from django.db import migrations, models


def place_versions(apps, schema_editor):
    """Versions from before there were markers are in force without one: a replica of an earlier one is built anew."""
    version_model = apps.get_model("changesource", "Version")
    for version in version_model.objects.all():
        version_model.objects.filter(pk=version.pk).update(nonce=uuid.uuid4().hex, cluster_time=0)


class Migration(migrations.Migration):
    dependencies = [
        ("changesource", "0002_table_mapping"),
    ]

    operations = [
        migrations.AddField(
            model_name="version",
            name="cluster_time",
            field=models.BigIntegerField(
                blank=True,
                help_text="Of its marker, as seconds << 32 | increment. Empty: being published.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="version",
            name="nonce",
            field=models.CharField(default="", max_length=32),
        ),
        migrations.RunPython(place_versions, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="version",
            name="nonce",
            field=models.CharField(
                default=changesource.models.version.new_nonce,
                help_text="By which it knows its marker.",
                max_length=32,
                unique=True,
            ),
        ),
    ]
