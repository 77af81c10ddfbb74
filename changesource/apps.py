from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class ChangeSourceConfig(AppConfig):
    name = "changesource"
    verbose_name = "Zero change source"

    def ready(self) -> None:
        autodiscover_modules("queries")

        from changesource import checks  # noqa: F401 (registers the system checks)
        from changesource.models.roles import create_groups

        post_migrate.connect(create_groups, sender=self, dispatch_uid="changesource.create_groups")
