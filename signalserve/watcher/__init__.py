"""The process beside TorchServe: proves that it answers correctly, keeps the journal, and shows what both tell.

`command.py`  puts it together          `app.py`     its pages, and what lives as long as they do
`probes.py`   golden requests           `keeper.py`  the one thread that writes the journal
`fold.py`     counts of dead workers    `*_metrics`  what /metrics shows of the journal and of live quality
`intact.py`   the bundles on disk       `gpu.py`     the GPUs, where there are any
`repeated.py` what waits in threads of its own
"""
