"""What `trunkline predict` is made of: inputs, requests, rows, and the file they go to."""
