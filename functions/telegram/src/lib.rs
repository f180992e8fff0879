//! The chat: updates in, messages out, limits
