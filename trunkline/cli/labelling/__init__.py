"""What `trunkline label` is made of: its questions, its answers, and the viewer it opens."""
