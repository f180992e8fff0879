//! The whole system on one machine, and the operator's tools
