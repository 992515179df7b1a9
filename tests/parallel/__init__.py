"""What holds on several ranks: real processes under torch.distributed with gloo."""
