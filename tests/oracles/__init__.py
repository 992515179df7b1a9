"""One literal transcription of each paper's pseudo-code: slow, per sample, sharing only the draws.

An oracle is a class `Oracle(method, num_samples)` in a module with the method's own file name, with
    plan(epoch, draws, target) -> {id: weight}, the samples it would train and their loss weights;
    observe(windows) -> None, windows being the optimizer steps of the epoch, each a list of
        (id, score), in order; a planned sample that is in none of them was not trained. A method
        that needs several scores is told them by name;
    refresh(scores) -> None, if the method asks for extra forwards: after `observe`, the scores of
        all samples, of which it takes those that it wants.
"""
