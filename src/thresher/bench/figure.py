"""E"""
def tradeoff(*a): pass
