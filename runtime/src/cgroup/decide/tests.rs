//! Goldens of the decision.
