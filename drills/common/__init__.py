"""What drills share; no module in here is a drill."""
