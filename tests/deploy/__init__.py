"""What stands in `deploy/` fits what it deploys."""
