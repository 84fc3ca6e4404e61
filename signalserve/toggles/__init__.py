"""`serving.yaml` changed by an operator, while the service runs, and a record of who did it and why.

    serving.yaml ──edit──▶ new text ──check──▶ difference, exposure ──ask──▶ journal event ──▶ serving.yaml replaced

`edit.py`      text + values -> text; nothing else in it moves
`changes.py`   what each command writes, as values at their places in the file
`exposure.py`  which arm answers how much, and where a change gives one more; pure
`served.py`    the checks the service will make, against the models in the store
`change.py`    the transaction: lock, read, edit, check, ask, record, replace
`home.py`      whether a folder is the service's: a mistyped one is refused
`history.py`   what the journal knows of earlier changes; where a rollback leads
`latched.py`   letting a model answer again that a guardrail took out
`standing.py`  what is in force: `signalserve toggle show`
`terminal.py`  differences and questions, on a terminal and in a script
"""
