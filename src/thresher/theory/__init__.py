"""What the papers prove, as functions: rates, bounds, optima and expectations, one idea a file.

Nothing here trains. Each function states what it assumes and where it is from, and tests hold it
against brute force, fractions, simulation or the methods themselves. A bound that says nothing for
the numbers it is given warns (`ThresherWarning`).

| file | idea |
|---|---|
| `order_weights` | OrderDP's γ_j: how often each rank is trained; its limit for many samples |
| `surrogate` | OrderDP's surrogate loss L_q, its limit (mean of the top share), its gap to ERM |
| `convergence` | OrderDP's Theorem 3: stochastic subgradient steps on L_q |
| `sampling_bias` | OrderDP's Theorem 4: what drawing s of n samples costs |
| `bernoulli` | Omission's Theorems 1 and 2: optimal chances, their conditions, their variance |
| `smoothing` | Omission's lower bound κ√α, and the largest weight |
| `drift` | RePB's bound LWηG on how far scores move inside a window |
| `stationary` | RePB's stationary prune rate, its inverse, and the way there |
| `renewal` | RePB's weights E/N: what a sample contributes in expectation |
| `saving` | InfoBatch's expected saving |
| `importance` | Katharopoulos and Fleuret's τ: when sampling by importance is worth it |
| `windows` | SeTa: how often each difficulty group is used |
| `percentile` | Selective Backprop: the share it keeps |
"""
