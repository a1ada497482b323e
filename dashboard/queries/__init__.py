"""The read side. Every function takes the scope or the tenants it may look at, and writes nothing.

Nothing here counts finished jobs: live ones are counted through the partial indexes, at most
`CAP` of a kind, and what has ended is summed from the minutes.
"""
