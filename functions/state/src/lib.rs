//! The table: keys, the guarded merge, the questions one can ask it
