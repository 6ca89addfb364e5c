"""How fast models are on this machine: measured, kept, and compared.

`spread.py` and `welch.py` are pure. `private.py` knows the servers that only measurements
have, `running.py` launches and ends them, `measuring.py` asks them, `measurement.py` does all
of a plan. `service.py` is asked, `worker.py` does; `results.py` and `comparing.py` read.
"""
