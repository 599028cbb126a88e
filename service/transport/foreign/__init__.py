"""Names, paths and errors of other protocols, which are known before a request reaches one."""
