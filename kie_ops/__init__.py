"""What is done to a document: reading it into entities, relations and events, with memory.

Pure Python, NumPy, Arrow and torch.  Imports neither Beam, Kafka nor Redis; memory is seen only through the
interface that :mod:`kie_ops.memory` declares.
"""
