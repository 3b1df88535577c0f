"""How each action is carried out, by what it acts on; `agent.apply.actions` has the table of them.

Each effect is idempotent: it may be repeated by the next decision, by another process, or after
a crash between any two lines. What a fault means for the job is kept in memory and journal; only
MustStop and bugs come out.
"""
