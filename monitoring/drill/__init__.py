"""`python -m monitoring drill`: faults planted in the running service, and which alerts fire on them.

    feed      what the bot sends, minute by minute, and what can be wrong with it
    plants    what can be wrong with archives, bundles, files and processes
    faults    the table: one fault = how it is planted, which alerts are expected, and why these
    run       one fault: the real service, a real Prometheus with the project's rules, bars replayed at high speed
    table     what came of it

Faults are planted from outside, by what a caller sends and by test archives and files: the product has no switches for
them.
"""
