//! What tests of alerts share.
