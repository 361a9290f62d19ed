"""Hyperparameter search through Optuna: what may be chosen, the search itself, and what it found."""

from .candidate import Candidate, SearchSpace
from .result import SearchResult, SearchTrial
from .running import search

__all__ = ["Candidate", "SearchResult", "SearchSpace", "SearchTrial", "search"]
