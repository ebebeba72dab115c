"""What is remembered: cells of integer counts behind one interface, in process or in Redis.

The only place that imports ``redis``.  Knows nothing of torch or Beam; from ``kie_ops`` it takes plain records only
(:mod:`kie_ops.records`, :mod:`kie_ops.memory`, :mod:`kie_ops.errors`).
"""
