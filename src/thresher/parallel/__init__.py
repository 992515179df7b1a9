"""Several ranks under `torch.distributed`: who they are, what each trains, what they exchange.

Nothing else in the library touches `torch.distributed`, and no method sees a rank.
"""
