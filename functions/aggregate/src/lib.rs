//! Folds probe requests into tallies
