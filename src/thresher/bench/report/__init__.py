"""`thresher report`: one page about finished runs that a person enjoys reading."""
