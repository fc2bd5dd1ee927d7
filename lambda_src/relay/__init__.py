"""The relay: Bedrock's event streams to the wire formats callers speak. Knows nothing of sockets or Lambda's runtime.

Read in the order of the data: ``request`` → ``bedrock`` → ``lanes`` → ``events`` → ``formats``.
"""

__version__ = "0.1.0"
