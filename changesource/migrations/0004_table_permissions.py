from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("changesource", "0003_version_positions"),
    ]

    operations = [
        migrations.AddField(
            model_name="table",
            name="permissions",
            field=models.TextField(
                blank=True,
                help_text='Who may do what with which rows: {"select": [rule, …], "insert": […], "update": {"before": […], "after": […]}, "delete": […]}. A rule is a filter over the columns, as {"owner": "$auth.sub"}; {} is everybody. Empty: queries that clients define show nobody a row.',
            ),
        ),
    ]
