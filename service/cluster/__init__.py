"""Several serving processes on one store: what each must know of the others.

`supervisor` is the process that starts them, and `member` what it tells each of them. `feed` keeps
what they hold in memory right, `keeper` has one of them do what there is one of, and `siblings`
carries what is short between them.
"""
