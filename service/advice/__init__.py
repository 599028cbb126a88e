"""Works out whether transfer pays; each request runs in a process of its own."""
