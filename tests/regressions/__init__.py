"""One file for each fault that was reproduced in published pruning code, each with its test.

Where the fault fits in a few lines it is shown in miniature first, so that it is known to be one
that a test on this torch can see.
"""
