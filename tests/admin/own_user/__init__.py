"""An app with a user model of its own, as a project may have one."""
