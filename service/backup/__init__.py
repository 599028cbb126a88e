"""``trunkline backup`` and ``trunkline restore``: a store in one file, and back."""

from service.backup.command import backup_main, restore_main

__all__ = ["backup_main", "restore_main"]
