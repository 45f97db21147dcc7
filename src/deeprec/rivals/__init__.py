"""The other families of recommenders, behind the same contract and on the same users."""
