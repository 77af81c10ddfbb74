from django.apps import AppConfig


class ChangeSourceConfig(AppConfig):
    name = "changesource"
    verbose_name = "Zero change source"

    def ready(self) -> None:
        from changesource import checks  # noqa: F401 (registers the system checks)
